import type { Digest } from '../../src/domain/artifact.ts'
import { limits } from '../../src/domain/limits.ts'
import type { StoredObject } from '../../src/domain/storage.ts'
import type { Store } from '../../src/domain/store.ts'
import { all, auditOf, versionOf, type Contract } from './store-bench.ts'
import { rejects } from '../support/rejects.ts'
import assert from 'node:assert/strict'

const digestOf = (digit: string): Digest => `sha256:${digit.repeat(64)}`

function draft(key: string, versionId: string, digit = 'a'): Omit<StoredObject, 'createdAt'> {
  return { project: 'p', bucket: 'code', key, versionId, digest: digestOf(digit), bytes: 7, etag: digit.repeat(64) }
}

const put = (store: Store, key: string, versionId: string, digit?: string) =>
  store.storage.put(draft(key, versionId, digit), auditOf('object.put', key))
const remove = (store: Store, key: string, versionId: string | null = null) =>
  store.storage.delete('p', { bucket: 'code', key, versionId }, auditOf('object.delete', key))
const get = (store: Store, key: string, versionId: string | null = null) =>
  store.storage.get('p', { bucket: 'code', key, versionId })

export function storageContract(contract: Contract): void {
  contract('storage.put makes the bucket; get finds the newest version and each by its id', async (store, clock) => {
    const createdAt = clock.nowMs()
    const first = await put(store, 'a.zip', 'v1', 'a')
    assert.deepEqual(first, { object: { ...draft('a.zip', 'v1', 'a'), createdAt }, dropped: [] })
    clock.advance(5)
    const { object: second } = await put(store, 'a.zip', 'v2', 'b')
    assert.equal(second.createdAt, createdAt + 5)
    assert.deepEqual(await get(store, 'a.zip'), second)
    assert.deepEqual(await get(store, 'a.zip', 'v1'), first.object)
    assert.deepEqual(await store.storage.versions('p', 'code', 'a.zip'), [second, first.object])
    assert.equal(await get(store, 'a.zip', 'v3'), null)
    assert.equal(await get(store, 'b.zip'), null)
    assert.deepEqual(await store.storage.buckets('p'), [{ project: 'p', name: 'code', createdAt }])
    assert.equal(await store.storage.bucket('p', 'other'), null)
    const lost = store.storage.put({ ...draft('a', 'v'), project: 'nowhere' }, auditOf('object.put', 'a'))
    await rejects(lost, 'not_found', /Project "nowhere" does not exist/)
  })

  contract('storage.put keeps the last versions only and says which digests went', async (store) => {
    const { versionsMax } = limits.storage
    for (let n = 1; n <= versionsMax; n++) assert.deepEqual((await put(store, 'k', `v${n}`, `${n % 10}`)).dropped, [])
    assert.deepEqual((await put(store, 'k', 'last')).dropped, [digestOf('1')])
    const kept = await store.storage.versions('p', 'code', 'k')
    assert.deepEqual([kept.length, kept[0]?.versionId, kept.at(-1)?.versionId], [versionsMax, 'last', 'v2'])
  })

  contract('storage.list pages newest versions by key under a prefix, whatever comes and goes', async (store) => {
    for (const key of ['a/1', 'a/2', 'a/3', 'ab', 'b/1', 'a/\u{10FFFE}']) await put(store, key, `of-${key}`)
    await put(store, 'a/2', 'newer', 'c')
    const under = (prefix: string) => (page: { limit: number; cursor?: string }) =>
      store.storage.list({ project: 'p', bucket: 'code', prefix }, page)
    const first = await under('a/')({ limit: 2 })
    assert.deepEqual(
      first.items.map(({ key, versionId }) => [key, versionId]),
      [
        ['a/1', 'of-a/1'],
        ['a/2', 'newer'],
      ],
    )
    await remove(store, 'a/1')
    await put(store, 'a/0', 'late')
    const rest = await all(under('a/'), 2, first.nextCursor)
    assert.deepEqual(
      rest.map(({ key }) => key),
      ['a/3', 'a/\u{10FFFE}'],
    )
    assert.equal((await under('')({ limit: 100 })).items.length, 6)
    assert.deepEqual((await under('c')({ limit: 100 })).items, [])
    const alien = under('')({ limit: 1, cursor: Buffer.from('functions:a').toString('base64url') })
    await rejects(alien, 'invalid', /Invalid cursor/)
  })

  contract('storage.delete removes a version or all; the bucket goes with its last object', async (store) => {
    await put(store, 'k', 'v1', '1')
    await put(store, 'k', 'v2', '2')
    await put(store, 'k', 'v3', '3')
    assert.deepEqual(await remove(store, 'k', 'v3'), [digestOf('3')])
    assert.equal((await get(store, 'k'))?.versionId, 'v2')
    await rejects(remove(store, 'k', 'v3'), 'not_found', /There is no object "s3:\/\/code\/k\?versionId=v3"/)
    assert.deepEqual(await remove(store, 'k'), [digestOf('2'), digestOf('1')])
    await rejects(remove(store, 'k'), 'not_found', /There is no object "s3:\/\/code\/k"/)
    assert.deepEqual(await store.storage.buckets('p'), [])
    const actions = (await store.audit.list('p', { limit: 3 })).items.map(({ action }) => action)
    assert.deepEqual(actions, ['object.delete', 'object.delete', 'object.put'])
  })

  contract('storage.names and named know what versions and objects of any project need', async (store) => {
    assert.equal(await store.storage.names(digestOf('a')), false)
    assert.deepEqual(await store.storage.named(), [])
    await put(store, 'k', 'v1', 'a')
    assert.equal(await store.storage.names(digestOf('a')), true)
    await store.functions.create(versionOf('f', { code: 'a' }), auditOf('function.create', 'f'))
    assert.deepEqual(await store.storage.named(), [digestOf('a')])
    await remove(store, 'k')
    assert.equal(await store.storage.names(digestOf('a')), true)
    const layers = [{ name: 'tools', number: 1, digest: digestOf('b') }]
    await store.functions.publish({ ...versionOf('f', { code: 'a' }), layers }, auditOf('function.update', 'f'))
    await put(store, 'k', 'v2', 'c')
    assert.deepEqual((await store.storage.named()).toSorted(), ['a', 'b', 'c'].map(digestOf))
    assert.equal(await store.storage.names(digestOf('b')), true)
    const digests = await store.functions.delete('p', 'f', auditOf('function.delete', 'f'))
    assert.deepEqual(digests.toSorted(), ['a', 'b'].map(digestOf))
    assert.equal(await store.storage.names(digestOf('a')), false)
    assert.deepEqual(await store.storage.named(), [digestOf('c')])
  })
}
