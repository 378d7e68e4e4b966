import { all, auditOf, versionOf, type Contract } from './store-bench.ts'
import { rejects } from '../support/rejects.ts'
import assert from 'node:assert/strict'

export function pagingContract(contract: Contract): void {
  contract('functions.list pages by name and stays stable while functions come and go', async (store) => {
    for (const name of ['a', 'b', 'c', 'd', 'e']) {
      await store.functions.create(versionOf(name), auditOf('function.create', name))
    }
    const first = await store.functions.list('p', { limit: 2 })
    assert.deepEqual(
      first.items.map((item) => item.record.name),
      ['a', 'b'],
    )
    await store.functions.delete('p', 'b', auditOf('function.delete', 'b'))
    await store.functions.create(versionOf('aa'), auditOf('function.create', 'aa'))
    await store.functions.create(versionOf('cc'), auditOf('function.create', 'cc'))
    const rest = await all((page) => store.functions.list('p', page), 2, first.nextCursor)
    assert.deepEqual(
      rest.map((item) => item.record.name),
      ['c', 'cc', 'd', 'e'],
    )
    const whole = await store.functions.list('p', { limit: 5 })
    assert.equal(whole.items.length, 5)
    assert.notEqual(whole.nextCursor, null)
    assert.equal((await store.functions.list('p', { limit: 6 })).nextCursor, null)
  })

  contract('functions.versions pages newest first while versions are published', async (store) => {
    await store.functions.create(versionOf('f'), auditOf('function.create', 'f'))
    for (let i = 0; i < 4; i++) await store.functions.publish(versionOf('f'), auditOf('function.update', 'f'))
    const first = await store.functions.versions('p', 'f', { limit: 2 })
    assert.deepEqual(
      first.items.map((version) => version.number),
      [5, 4],
    )
    await store.functions.publish(versionOf('f'), auditOf('function.update', 'f'))
    const rest = await all((page) => store.functions.versions('p', 'f', page), 2, first.nextCursor)
    assert.deepEqual(
      rest.map((version) => version.number),
      [3, 2, 1],
    )
  })

  contract('list refuses a cursor that is not its own, and a limit out of range', async (store) => {
    await store.functions.create(versionOf('f'), auditOf('function.create', 'f'))
    await store.functions.create(versionOf('g'), auditOf('function.create', 'g'))
    const { nextCursor } = await store.functions.list('p', { limit: 1 })
    assert.ok(nextCursor !== null)
    for (const cursor of ['', 'nonsense', `${nextCursor}=`, Buffer.from('versions:x').toString('base64url')]) {
      const error = await rejects(store.functions.versions('p', 'f', { limit: 1, cursor }), 'invalid', /Invalid cursor/)
      assert.equal(error.field, 'cursor')
    }
    await rejects(store.audit.list('p', { limit: 1, cursor: nextCursor }), 'invalid', /Invalid cursor/)
    const padded = store.functions.list('p', { limit: 1, cursor: `${nextCursor}=` })
    await rejects(padded, 'invalid', /Invalid cursor/)
    for (const limit of [0, -1, 1.5, 1_001]) {
      const error = await rejects(store.functions.list('p', { limit }), 'invalid', /Invalid limit/)
      assert.equal(error.field, 'limit')
    }
  })
}

export function auditContract(contract: Contract): void {
  contract('audit.list tells newest first who did what, and only of its project', async (store, clock) => {
    await store.functions.create(versionOf('f'), auditOf('function.create', 'f'))
    clock.advance(7)
    await store.functions.delete('p', 'f', auditOf('function.delete', 'f'))
    const { items } = await store.audit.list('p', { limit: 10 })
    assert.deepEqual(
      items.map((entry) => entry.action),
      ['function.delete', 'function.create', 'project.create'],
    )
    const [newest] = items
    assert.ok(newest !== undefined)
    const { seq, ...rest } = newest
    assert.ok(seq > (items[1]?.seq ?? Infinity))
    assert.deepEqual(rest, {
      time: clock.nowMs(),
      project: 'p',
      actor: 'key1',
      action: 'function.delete',
      target: 'f',
      detail: { why: 'test' },
    })
    const paged = await all((page) => store.audit.list('p', page), 1, undefined)
    assert.deepEqual(paged, items)
    assert.deepEqual((await store.audit.list('other', { limit: 10 })).items, [])
  })

  contract('audit.add keeps what was changed elsewhere, of a project that there is', async (store) => {
    await store.audit.add('p', auditOf('object.put', 's3://elsewhere/a'))
    const [newest] = (await store.audit.list('p', { limit: 1 })).items
    assert.deepEqual([newest?.action, newest?.target], ['object.put', 's3://elsewhere/a'])
    await rejects(store.audit.add('nowhere', auditOf('object.put', 'x')), 'not_found', /Project "nowhere"/)
  })

  contract('audit holds an entry for each mutation that happened and none for one that failed', async (store) => {
    const before = (await store.audit.list('p', { limit: 100 })).items.length
    const outcomes = await Promise.allSettled([
      store.functions.create(versionOf('f'), auditOf('function.create', 'f')),
      store.functions.create(versionOf('f'), auditOf('function.create', 'f')),
      store.functions.publish(versionOf('missing'), auditOf('function.update', 'missing')),
      store.secrets.set('p', 's', Uint8Array.of(1), auditOf('secret.set', 's')),
      store.keys.revoke('p', 'missing', auditOf('key.revoke', 'missing')),
    ])
    const kept = outcomes.filter((outcome) => outcome.status === 'fulfilled').length
    assert.equal(kept, 2)
    const { items } = await store.audit.list('p', { limit: 100 })
    assert.equal(items.length, before + kept)
  })

  contract('an audit entry that cannot be written takes its mutation with it', async (store) => {
    const cycle: Record<string, unknown> = {}
    cycle['self'] = cycle
    const audit = { ...auditOf('function.create', 'f'), detail: cycle }
    await rejects(store.functions.create(versionOf('f'), audit), 'internal', /Internal error/)
    assert.equal(await store.functions.get('p', 'f'), null)
  })
}
