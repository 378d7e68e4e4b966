import assert from 'node:assert/strict'
import { Readable } from 'node:stream'
import { test, type TestContext } from 'node:test'
import { startScripted } from '../../test/support/in-process.ts'
import type { ArtifactStore, Digest } from '../domain/artifact.ts'
import { ManualClock } from '../domain/clock.ts'
import { silentLogger } from '../domain/logger.ts'
import type { StoredObject } from '../domain/storage.ts'
import { Blobs } from './blobs.ts'

interface Bench {
  readonly blobs: Blobs
  readonly artifacts: ArtifactStore
  readonly clock: ManualClock
  /** A row that names the bytes. */
  readonly name: (digest: Digest) => Promise<StoredObject>
  readonly unname: () => Promise<readonly Digest[]>
}

async function opened(t: TestContext): Promise<Bench> {
  const api = await startScripted()
  const { artifacts, store } = api
  const clock = new ManualClock(1_000)
  t.after(async () => api.close())
  const audit = { actor: 'test', action: 'test', target: 'k', detail: {} }
  const at = { project: 'default', bucket: 'code', key: 'k' }
  return {
    blobs: new Blobs({ artifacts, store, clock, logger: silentLogger }),
    artifacts,
    clock,
    name: async (digest) =>
      (await store.storage.put({ ...at, versionId: 'v', digest, bytes: 3, etag: 'e' }, audit)).object,
    unname: async () => store.storage.delete('default', { ...at, versionId: null }, audit),
  }
}

const stored = async ({ artifacts }: Bench): Promise<Digest> => (await artifacts.put(Readable.from(['abc']))).digest

test('Blobs.release: bytes go when no row names them', async (t) => {
  const bench = await opened(t)
  const digest = await stored(bench)
  await bench.name(digest)
  await bench.blobs.release([digest])
  assert.notEqual(await bench.artifacts.stat(digest), null)
  await bench.blobs.release(await bench.unname())
  assert.equal(await bench.artifacts.stat(digest), null)
})

test('Blobs.holding and put: bytes stay while somebody is about to name them', async (t) => {
  const bench = await opened(t)
  const digest = await stored(bench)
  await bench.blobs.holding([digest], async () => {
    await bench.blobs.holding([digest], async () => {})
    await bench.blobs.release([digest])
    assert.notEqual(await bench.artifacts.stat(digest), null)
  })
  const used = await bench.blobs.put(Readable.from(['abc']), {}, async (artifact) => {
    await bench.blobs.release([artifact.digest])
    return bench.artifacts.stat(artifact.digest)
  })
  assert.deepEqual(used, { digest, bytes: 3 })
  await bench.blobs.release([digest])
  assert.equal(await bench.artifacts.stat(digest), null)
})

test('Blobs.uploaded: bytes stay an hour for whoever uploaded them', async (t) => {
  const bench = await opened(t)
  const digest = await stored(bench)
  bench.blobs.uploaded(digest)
  bench.clock.advance(3_599_999)
  await bench.blobs.release([digest])
  assert.notEqual(await bench.artifacts.stat(digest), null)
  bench.clock.advance(1)
  await bench.blobs.release([digest])
  assert.equal(await bench.artifacts.stat(digest), null)
})
