import { auditOf, versionOf, type Contract } from './store-bench.ts'
import { rejects } from '../support/rejects.ts'
import assert from 'node:assert/strict'

export function urlsContract(contract: Contract): void {
  const url = { project: 'p', functionName: 'Fn', qualifier: null, auth: 'none', mode: 'stream', cors: null } as const
  const audit = auditOf('url.set', 'Fn')

  contract('urls.set creates and replaces; get, find, list and delete follow', async (store, clock) => {
    await rejects(store.urls.set(url, audit), 'not_found', /Function "Fn" does not exist/)
    await store.functions.create(versionOf('Fn'), auditOf('function.create', 'Fn'))
    const createdAt = clock.nowMs()
    assert.deepEqual(await store.urls.set(url, audit), { ...url, createdAt, updatedAt: createdAt })
    clock.advance(10)
    const cors = {
      ...{ allowOrigins: ['*'], allowMethods: [], allowHeaders: ['x'], exposeHeaders: [] },
      ...{ maxAgeSeconds: 5, allowCredentials: false },
    }
    const changed = await store.urls.set({ ...url, auth: 'key', qualifier: '1', cors }, audit)
    assert.deepEqual(changed, { ...url, auth: 'key', qualifier: '1', cors, createdAt, updatedAt: clock.nowMs() })
    assert.deepEqual(await store.urls.get('p', 'Fn'), changed)
    assert.deepEqual(await store.urls.list('p'), [changed])
    assert.equal(await store.urls.get('p', 'fn'), null)
    await store.urls.delete('p', 'Fn', auditOf('url.delete', 'Fn'))
    assert.equal(await store.urls.get('p', 'Fn'), null)
    await rejects(store.urls.delete('p', 'Fn', audit), 'not_found', /Function "Fn" has no URL/)
  })

  contract('urls.find has no case; of two names it prefers the one without upper case', async (store) => {
    await store.functions.create(versionOf('Fn'), auditOf('function.create', 'Fn'))
    await store.urls.set(url, audit)
    assert.equal((await store.urls.find('p', 'fn'))?.functionName, 'Fn')
    assert.equal(await store.urls.find('q', 'fn'), null)
    await store.functions.create(versionOf('fn'), auditOf('function.create', 'fn'))
    await store.urls.set({ ...url, functionName: 'fn' }, audit)
    assert.equal((await store.urls.find('p', 'fn'))?.functionName, 'fn')
  })

  contract('a URL goes with its function', async (store) => {
    await store.functions.create(versionOf('Fn'), auditOf('function.create', 'Fn'))
    await store.urls.set(url, audit)
    await store.functions.delete('p', 'Fn', auditOf('function.delete', 'Fn'))
    await store.functions.create(versionOf('Fn'), auditOf('function.create', 'Fn'))
    assert.equal(await store.urls.get('p', 'Fn'), null)
  })
}
