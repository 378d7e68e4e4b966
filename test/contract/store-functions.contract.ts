import { auditOf, versionOf, type Contract } from './store-bench.ts'
import { rejects } from '../support/rejects.ts'
import assert from 'node:assert/strict'

export function functionsContract(contract: Contract): void {
  contract('functions.create gives version 1 and get returns what was created', async (store, clock) => {
    const created = await store.functions.create(versionOf('f'), auditOf('function.create', 'f'))
    assert.deepEqual(created.record, {
      project: 'p',
      name: 'f',
      latest: 1,
      versionCount: 1,
      update: null,
      createdAt: clock.nowMs(),
      updatedAt: clock.nowMs(),
    })
    assert.deepEqual(created.version, {
      ...versionOf('f'),
      number: 1,
      createdAt: clock.nowMs(),
      state: 'active',
      stateReason: null,
    })
    assert.deepEqual(await store.functions.get('p', 'f'), created)
    assert.equal(await store.functions.get('p', 'g'), null)
    assert.equal(await store.functions.get('other', 'f'), null)
  })

  contract('functions.create refuses a taken name, an unknown project and a full one', async (store) => {
    await store.functions.create(versionOf('f'), auditOf('function.create', 'f'))
    const again = store.functions.create(versionOf('f'), auditOf('function.create', 'f'))
    await rejects(again, 'conflict', /Function "f" already exists in project "p"/)
    const lost = store.functions.create({ ...versionOf('f'), project: 'nowhere' }, auditOf('function.create', 'f'))
    await rejects(lost, 'not_found', /Project "nowhere" does not exist/)
    await store.projects.create('small', { functionsMax: 1, concurrencyMax: 1 }, auditOf('project.create', 'small'))
    await store.functions.create({ ...versionOf('one'), project: 'small' }, auditOf('function.create', 'one'))
    const second = store.functions.create({ ...versionOf('two'), project: 'small' }, auditOf('function.create', 'two'))
    const error = await rejects(second, 'capacity', /"small" already holds its maximum of 1 functions/)
    assert.equal(error.retryable, false)
  })

  contract('functions.delete removes function, versions and aliases, and frees the name', async (store) => {
    await store.functions.create(versionOf('f', { code: 'd' }), auditOf('function.create', 'f'))
    await store.aliases.set({ project: 'p', functionName: 'f', name: 'live', version: 1 }, auditOf('alias.set', 'f'))
    await store.functions.publish(versionOf('f', { code: 'e' }), auditOf('function.update', 'f'))
    await store.functions.publish(versionOf('f', { code: 'd' }), auditOf('function.update', 'f'))
    const digests = await store.functions.delete('p', 'f', auditOf('function.delete', 'f'))
    assert.deepEqual(digests.toSorted(), [`sha256:${'d'.repeat(64)}`, `sha256:${'e'.repeat(64)}`])
    assert.equal(await store.functions.get('p', 'f'), null)
    assert.equal(await store.functions.version('p', 'f', 1), null)
    assert.equal(await store.aliases.get('p', 'f', 'live'), null)
    const again = await store.functions.create(versionOf('f'), auditOf('function.create', 'f'))
    assert.equal(again.version.number, 1)
    await rejects(
      store.functions.delete('p', 'g', auditOf('function.delete', 'g')),
      'not_found',
      /Function "g" does not/,
    )
  })
}

export function versionsContract(contract: Contract): void {
  contract('functions.deleteVersion takes what nothing means, and no number comes again', async (store) => {
    await store.functions.create(versionOf('f', { code: 'a' }), auditOf('function.create', 'f'))
    for (const code of ['b', 'c', 'd'])
      await store.functions.publish(versionOf('f', { code }), auditOf('function.update', 'f'))
    await store.functions.setLatest('p', 'f', 3, auditOf('function.rollback', 'f'))
    await store.aliases.set({ project: 'p', functionName: 'f', name: 'live', version: 1 }, auditOf('alias.set', 'f'))
    await store.urls.set(
      { project: 'p', functionName: 'f', qualifier: '2', auth: 'none', mode: 'buffered', cors: null },
      auditOf('url.set', 'f'),
    )
    const remove = async (number: number): Promise<readonly string[]> =>
      store.functions.deleteVersion({ project: 'p', name: 'f', number }, auditOf('version.delete', `f:${number}`))
    await rejects(remove(1), 'conflict', /Version 1 of function "f" has the alias "live"\. Point it to another/)
    await rejects(remove(2), 'conflict', /Version 2 of function "f" is where the function's URL leads/)
    await rejects(remove(3), 'conflict', /Version 3 of function "f" is what \$LATEST means/)
    await rejects(remove(9), 'not_found', /no version 9/)
    // The newest: the function is there without it.
    assert.deepEqual(await remove(4), [`sha256:${'d'.repeat(64)}`])
    assert.equal(await store.functions.version('p', 'f', 4), null)
    const { record } = (await store.functions.get('p', 'f')) ?? assert.fail('the function is gone')
    assert.deepEqual([record.latest, record.versionCount, record.update], [3, 4, null])
    assert.deepEqual((await store.functions.list('p', { limit: 5 })).items.length, 1)
    assert.deepEqual(
      (await store.functions.versions('p', 'f', { limit: 5 })).items.map(({ number }) => number),
      [3, 2, 1],
    )
    const [entry] = (await store.audit.list('p', { limit: 1 })).items
    assert.deepEqual([entry?.action, entry?.target], ['version.delete', 'f:4'])
    const next = await store.functions.publish(versionOf('f', { code: 'e' }), auditOf('function.update', 'f'))
    assert.equal(next.version.number, 5)
    await store.functions.accept(versionOf('f'), auditOf('function.update', 'f'), { mustLoad: false })
    await rejects(remove(6), 'conflict', /Version 6 of function "f" is still being prepared/)
  })

  contract('functions.publish numbers on and moves $LATEST', async (store, clock) => {
    await store.functions.create(versionOf('f'), auditOf('function.create', 'f'))
    const createdAt = clock.nowMs()
    clock.advance(5_000)
    const { record, version } = await store.functions.publish(
      versionOf('f', { code: 'd' }),
      auditOf('function.update', 'f'),
    )
    assert.equal(version.number, 2)
    assert.equal(version.createdAt, createdAt + 5_000)
    assert.equal(record.latest, 2)
    assert.equal(record.createdAt, createdAt)
    assert.equal(record.updatedAt, createdAt + 5_000)
    assert.deepEqual(await store.functions.get('p', 'f'), { record, version })
    assert.equal((await store.functions.version('p', 'f', 1))?.codeDigest, `sha256:${'a'.repeat(64)}`)
    assert.equal(await store.functions.version('p', 'f', 3), null)
  })

  contract('functions.publish refuses an unknown function and a stale expectation', async (store) => {
    const lost = store.functions.publish(versionOf('f'), auditOf('function.update', 'f'))
    await rejects(lost, 'not_found', /Function "f" does not exist/)
    await store.functions.create(versionOf('f'), auditOf('function.create', 'f'))
    await store.functions.publish(versionOf('f'), auditOf('function.update', 'f'), 1)
    const stale = store.functions.publish(versionOf('f'), auditOf('function.update', 'f'), 1)
    await rejects(stale, 'conflict', /version 2 is current, not 1/)
    assert.equal((await store.functions.get('p', 'f'))?.record.versionCount, 2)
  })

  contract('functions.setLatest repoints, and publish then goes on from the highest number', async (store) => {
    await store.functions.create(versionOf('f'), auditOf('function.create', 'f'))
    await store.functions.publish(versionOf('f'), auditOf('function.update', 'f'))
    const record = await store.functions.setLatest('p', 'f', 1, auditOf('function.rollback', 'f'))
    assert.equal(record.latest, 1)
    assert.equal((await store.functions.get('p', 'f'))?.version.number, 1)
    const { version } = await store.functions.publish(versionOf('f'), auditOf('function.update', 'f'))
    assert.equal(version.number, 3)
    const unknown = store.functions.setLatest('p', 'f', 9, auditOf('function.rollback', 'f'))
    await rejects(unknown, 'not_found', /Function "f" has no version 9/)
    const lost = store.functions.setLatest('p', 'g', 1, auditOf('function.rollback', 'g'))
    await rejects(lost, 'not_found', /Function "g" does not exist/)
  })
}
