import { auditOf, versionOf, type Contract } from './store-bench.ts'
import { rejects } from '../support/rejects.ts'
import assert from 'node:assert/strict'

export function aliasesContract(contract: Contract): void {
  contract('aliases.set creates and repoints; get, list and delete follow', async (store, clock) => {
    await store.functions.create(versionOf('f'), auditOf('function.create', 'f'))
    await store.functions.publish(versionOf('f'), auditOf('function.update', 'f'))
    const alias = { project: 'p', functionName: 'f', name: 'live', version: 1 }
    assert.deepEqual(await store.aliases.set(alias, auditOf('alias.set', 'f')), { ...alias, updatedAt: clock.nowMs() })
    clock.advance(10)
    await store.aliases.set({ ...alias, version: 2 }, auditOf('alias.set', 'f'))
    await store.aliases.set({ ...alias, name: 'beta' }, auditOf('alias.set', 'f'))
    assert.deepEqual(await store.aliases.get('p', 'f', 'live'), { ...alias, version: 2, updatedAt: clock.nowMs() })
    const names = (await store.aliases.list('p', 'f')).map((found) => found.name)
    assert.deepEqual(names, ['beta', 'live'])
    await store.aliases.delete('p', 'f', 'live', auditOf('alias.delete', 'f'))
    assert.equal(await store.aliases.get('p', 'f', 'live'), null)
    assert.deepEqual(await store.aliases.list('p', 'g'), [])
  })

  contract('aliases refuse what does not exist', async (store) => {
    const alias = { project: 'p', functionName: 'f', name: 'live', version: 1 }
    await rejects(store.aliases.set(alias, auditOf('alias.set', 'f')), 'not_found', /Function "f" does not exist/)
    await store.functions.create(versionOf('f'), auditOf('function.create', 'f'))
    const beyond = store.aliases.set({ ...alias, version: 2 }, auditOf('alias.set', 'f'))
    await rejects(beyond, 'not_found', /Function "f" has no version 2/)
    const missing = store.aliases.delete('p', 'f', 'live', auditOf('alias.delete', 'f'))
    await rejects(missing, 'not_found', /Function "f" has no alias "live"/)
  })
}
