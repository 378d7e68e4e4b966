import { auditOf, versionOf, type Contract } from './store-bench.ts'
import { rejects } from '../support/rejects.ts'
import assert from 'node:assert/strict'

export function projectsAndKeysContract(contract: Contract): void {
  contract('projects.create, get and list; a taken name is a conflict', async (store, clock) => {
    const quotas = { functionsMax: 5, concurrencyMax: 7 }
    const created = await store.projects.create('a', quotas, auditOf('project.create', 'a'))
    assert.deepEqual(created, { name: 'a', createdAt: clock.nowMs(), quotas })
    assert.deepEqual(await store.projects.get('a'), created)
    assert.equal(await store.projects.get('b'), null)
    const names = (await store.projects.list()).map((project) => project.name)
    assert.deepEqual(names, ['a', 'p'])
    const again = store.projects.create('a', quotas, auditOf('project.create', 'a'))
    await rejects(again, 'conflict', /Project "a" already exists/)
  })

  contract('projects.update sets the quotas that are given, at once, with its audit entry', async (store, clock) => {
    const quotas = { functionsMax: 1, concurrencyMax: 7 }
    const created = await store.projects.create('a', quotas, auditOf('project.create', 'a'))
    await store.functions.create({ ...versionOf('one'), project: 'a' }, auditOf('function.create', 'one'))
    clock.advance(50)
    const raised = await store.projects.update('a', { functionsMax: 2 }, auditOf('project.update', 'a'))
    assert.deepEqual(raised, { ...created, quotas: { functionsMax: 2, concurrencyMax: 7 } })
    assert.deepEqual(await store.projects.get('a'), raised)
    assert.equal((await store.audit.list('a', { limit: 1 })).items[0]?.action, 'project.update')
    await store.functions.create({ ...versionOf('two'), project: 'a' }, auditOf('function.create', 'two'))
    assert.deepEqual(
      (await store.projects.update('a', { functionsMax: 0, concurrencyMax: 1 }, auditOf('project.update', 'a'))).quotas,
      { functionsMax: 0, concurrencyMax: 1 },
    )
    assert.deepEqual([await store.projects.functionCount('a'), await store.projects.functionCount('p')], [2, 0])
    const third = store.functions.create({ ...versionOf('three'), project: 'a' }, auditOf('function.create', 'three'))
    await rejects(third, 'capacity', /maximum of 0 functions \(quota functionsMax\)/)
    await store.functions.publish({ ...versionOf('one'), project: 'a' }, auditOf('function.update', 'one'))
    const lost = store.projects.update('b', { functionsMax: 2 }, auditOf('project.update', 'b'))
    await rejects(lost, 'not_found', /Project "b" does not exist/)
    assert.deepEqual((await store.audit.list('b', { limit: 1 })).items, [])
  })

  contract('keys.create, get, list and revoke', async (store, clock) => {
    const draft = { id: 'k1', project: 'p', name: 'deploy', scopes: ['invoke:*', 'logs:read'] }
    const key = await store.keys.create(draft, auditOf('key.create', 'k1'))
    assert.deepEqual(key, { ...draft, createdAt: clock.nowMs(), revokedAt: null })
    assert.deepEqual(await store.keys.get('k1'), key)
    assert.deepEqual(await store.keys.list('p'), [key])
    clock.advance(50)
    const revoked = await store.keys.revoke('p', 'k1', auditOf('key.revoke', 'k1'))
    assert.equal(revoked.revokedAt, clock.nowMs())
    clock.advance(50)
    assert.deepEqual(await store.keys.revoke('p', 'k1', auditOf('key.revoke', 'k1')), revoked)
    assert.deepEqual(await store.keys.get('k1'), revoked)
  })

  contract("keys refuse a taken id, an unknown project and another project's key", async (store) => {
    const draft = { id: 'k1', project: 'p', name: 'deploy', scopes: [] }
    await store.keys.create(draft, auditOf('key.create', 'k1'))
    await rejects(store.keys.create(draft, auditOf('key.create', 'k1')), 'conflict', /Key "k1" already exists/)
    const lost = store.keys.create({ ...draft, id: 'k2', project: 'nowhere' }, auditOf('key.create', 'k2'))
    await rejects(lost, 'not_found', /Project "nowhere" does not exist/)
    await store.projects.create('q', { functionsMax: 1, concurrencyMax: 1 }, auditOf('project.create', 'q'))
    await rejects(store.keys.revoke('q', 'k1', auditOf('key.revoke', 'k1')), 'not_found', /Key "k1" does not exist/)
    assert.equal((await store.keys.get('k1'))?.revokedAt, null)
  })

  contract('meta.set replaces and check finds a sound store', async (store) => {
    assert.equal(await store.meta.get('installedAt'), null)
    await store.meta.set('installedAt', '1')
    await store.meta.set('installedAt', '2')
    assert.equal(await store.meta.get('installedAt'), '2')
    assert.deepEqual(await store.check(), [])
  })
}
