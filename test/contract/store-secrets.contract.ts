import { auditOf, versionOf, type Contract } from './store-bench.ts'
import { rejects } from '../support/rejects.ts'
import assert from 'node:assert/strict'

export function secretsContract(contract: Contract): void {
  contract('secrets.set counts revisions, sealed returns the bytes, list never does', async (store, clock) => {
    const createdAt = clock.nowMs()
    const first = await store.secrets.set('p', 'token', Uint8Array.of(1, 2), auditOf('secret.set', 'token'))
    assert.deepEqual(first, { project: 'p', name: 'token', revision: 1, createdAt, updatedAt: createdAt })
    clock.advance(9)
    const second = await store.secrets.set('p', 'token', Uint8Array.of(3), auditOf('secret.set', 'token'))
    assert.deepEqual(second, { ...first, revision: 2, updatedAt: createdAt + 9 })
    const sealed = await store.secrets.sealed('p', ['token', 'missing'])
    assert.deepEqual([...sealed.keys()], ['token'])
    assert.deepEqual(Uint8Array.from(sealed.get('token') ?? []), Uint8Array.of(3))
    assert.equal((await store.secrets.sealed('p', [])).size, 0)
    assert.deepEqual(await store.secrets.list('p'), [second])
    const lost = store.secrets.set('nowhere', 'token', Uint8Array.of(1), auditOf('secret.set', 'token'))
    await rejects(lost, 'not_found', /Project "nowhere" does not exist/)
  })

  contract('secrets.users: Versions that are called or about to be, each once', async (store) => {
    const [secrets, audit] = [{ API: 'token', B: 'token' }, auditOf('test', 'f')]
    const users = async (): Promise<readonly string[]> => {
      const refs = await store.secrets.users('p', 'token')
      return refs.map(({ project, functionName, number }) => `${project}/${functionName}:${number}`).toSorted()
    }
    const alias = { project: 'p', functionName: 'f', version: 1 }
    await store.functions.create(versionOf('f', { secrets }), audit)
    await store.functions.create(versionOf('g', { secrets: { API: 'other' } }), audit)
    assert.deepEqual(await users(), ['p/f:1'])
    for (const name of ['live', 'next']) await store.aliases.set({ ...alias, name }, audit)
    assert.deepEqual(await users(), ['p/f:1'])
    await store.functions.publish(versionOf('f', { secrets }), audit)
    await store.functions.publish(versionOf('f'), audit)
    await store.functions.accept(versionOf('g', { secrets }), audit, { mustLoad: false })
    assert.deepEqual(await users(), ['p/f:1', 'p/g:2'])
    await store.functions.settle({ project: 'p', name: 'g', number: 2 }, 'it does not load', audit)
    for (const name of ['live', 'next']) await store.aliases.delete('p', 'f', name, audit)
    assert.deepEqual(await users(), [])
    await store.functions.setLatest('p', 'f', 2, audit)
    assert.deepEqual(
      [await users(), await store.secrets.users('p', 'other')],
      [['p/f:2'], [{ project: 'p', functionName: 'g', number: 1 }]],
    )
  })

  contract('secrets.delete names the $LATEST versions and aliases that still use it', async (store) => {
    await store.secrets.set('p', 'token', Uint8Array.of(1), auditOf('secret.set', 'token'))
    await store.functions.create(
      versionOf('f', { secrets: { API: 'token', B: 'token' } }),
      auditOf('function.create', 'f'),
    )
    await store.functions.create(versionOf('g', { secrets: { API: 'token' } }), auditOf('function.create', 'g'))
    await store.aliases.set({ project: 'p', functionName: 'g', name: 'live', version: 1 }, auditOf('alias.set', 'g'))
    const used = store.secrets.delete('p', 'token', auditOf('secret.delete', 'token'))
    await rejects(used, 'conflict', /"token": it is used by "f:\$LATEST", "g:\$LATEST", "g:live"/)
    await store.functions.publish(versionOf('f'), auditOf('function.update', 'f'))
    await store.functions.publish(versionOf('g'), auditOf('function.update', 'g'))
    const aliased = store.secrets.delete('p', 'token', auditOf('secret.delete', 'token'))
    await rejects(aliased, 'conflict', /it is used by "g:live"\./)
    await store.aliases.delete('p', 'g', 'live', auditOf('alias.delete', 'g'))
    await store.secrets.delete('p', 'token', auditOf('secret.delete', 'token'))
    assert.deepEqual(await store.secrets.list('p'), [])
    const gone = store.secrets.delete('p', 'token', auditOf('secret.delete', 'token'))
    await rejects(gone, 'not_found', /Secret "token" does not exist/)
  })
}
