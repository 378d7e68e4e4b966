import assert from 'node:assert/strict'
import { mkdtemp, rm, utimes } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { Readable } from 'node:stream'
import { test, type TestContext } from 'node:test'
import { startScripted, type ApiInProcess } from '../../test/support/in-process.ts'
import { until } from '../../test/support/until.ts'
import { scriptedAgent, type ScriptedAgent } from '../../test/support/scripted-agent.ts'
import type { ArtifactStore, Digest } from '../domain/artifact.ts'
import { ManualClock } from '../domain/clock.ts'
import { silentLogger } from '../domain/logger.ts'
import type { StoredObject } from '../domain/storage.ts'
import { Blobs } from './blobs.ts'

interface Bench extends Pick<ApiInProcess, 'layout'> {
  readonly blobs: Blobs
  readonly agent: ScriptedAgent
  readonly artifacts: ArtifactStore
  readonly clock: ManualClock
  /** A row that names the bytes. */
  readonly name: (digest: Digest) => Promise<StoredObject>
  readonly unname: () => Promise<readonly Digest[]>
}

async function opened(t: TestContext): Promise<Bench> {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'hearth-blobs-'))
  const api = await startScripted(scriptedAgent(), { folder })
  const { artifacts, store, agent } = api
  const clock = new ManualClock(Date.now())
  const blobs = new Blobs({ artifacts, store, agent, clock, logger: silentLogger })
  t.after(async () => {
    await blobs.stop()
    await api.close()
    await rm(folder, { recursive: true, force: true })
  })
  const audit = { actor: 'test', action: 'test', target: 'k', detail: {} }
  const at = { project: 'default', bucket: 'code', key: 'k' }
  return {
    blobs,
    agent,
    artifacts,
    layout: api.layout,
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

test('Blobs.holding and put: what was to go goes when it is let go, and what came to nothing too', async (t) => {
  const bench = await opened(t)
  const digest = await stored(bench)
  const kept = await bench.blobs.holding([digest], async () =>
    bench.blobs.holding([digest], async () => {
      await bench.blobs.release([digest])
      return bench.artifacts.stat(digest)
    }),
  )
  assert.notEqual(kept, null)
  await gone(bench, digest)
  const failing = bench.blobs.put(Readable.from(['abc']), {}, async () => {
    throw new Error('no row')
  })
  await assert.rejects(failing, /no row/)
  await gone(bench, digest)
  await stored(bench)
  await bench.blobs.holding([digest], async () => {
    await bench.blobs.release([digest])
    await bench.name(digest)
  })
  await bench.blobs.stop()
  assert.notEqual(await bench.artifacts.stat(digest), null, 'it was named meanwhile')
})

test('Blobs.release: bytes that a node reads go when it says that it does not any more', async (t) => {
  const bench = await opened(t)
  const digest = await stored(bench)
  bench.agent.used.add(digest)
  await bench.blobs.release([digest])
  assert.notEqual(await bench.artifacts.stat(digest), null)
  bench.agent.used.delete(digest)
  bench.agent.emit({ type: 'unused', digest })
  await gone(bench, digest)
  await stored(bench)
  bench.agent.emit({ type: 'unused', digest })
  await bench.blobs.stop()
  assert.notEqual(await bench.artifacts.stat(digest), null, 'nobody asked for it to go')
})

test('Blobs.uploaded: bytes stay an hour for whoever uploaded them, and go then if nothing names them', async (t) => {
  const bench = await opened(t)
  const digest = await stored(bench)
  const { digest: other } = await bench.artifacts.put(Readable.from(['other']))
  bench.blobs.uploaded(digest)
  bench.clock.advance(1_000)
  bench.blobs.uploaded(other)
  await bench.name(other)
  bench.clock.advance(3_598_999)
  await bench.blobs.release([digest])
  assert.notEqual(await bench.artifacts.stat(digest), null)
  bench.clock.advance(1)
  await gone(bench, digest)
  bench.clock.advance(1_000)
  await bench.blobs.stop()
  assert.notEqual(await bench.artifacts.stat(other), null)
})

test('Blobs.sweep: what nothing names goes, at once or when it has been there for an hour', async (t) => {
  const bench = await opened(t)
  const [named, old, young, held] = await Promise.all(
    ['named', 'old', 'young', 'held'].map(async (text) => (await bench.artifacts.put(Readable.from([text]))).digest),
  )
  assert.ok(named && old && young && held)
  await bench.name(named)
  const nowSeconds = bench.clock.nowMs() / 1_000
  for (const digest of [named, old, held]) await age(bench, digest, nowSeconds - 3_601)
  await age(bench, young, nowSeconds - 3_000)
  await bench.blobs.holding([held], async () => {
    await bench.blobs.sweep()
    assert.deepEqual((await left(bench)).toSorted(), [named, young, held].toSorted())
  })
  await gone(bench, held)
  bench.clock.advance(599_000)
  await bench.blobs.sweep()
  assert.deepEqual((await left(bench)).toSorted(), [named, young].toSorted())
  bench.clock.advance(1_100)
  await gone(bench, young)
  assert.deepEqual(await left(bench), [named])
})

const left = async ({ artifacts }: Bench): Promise<Digest[]> =>
  (await artifacts.list(() => true)).map(({ digest }) => digest)

const age = async ({ layout }: Bench, digest: Digest, seconds: number): Promise<void> =>
  utimes(layout.blob(digest), seconds, seconds)

async function gone({ artifacts }: Bench, digest: Digest): Promise<void> {
  const check = async (): Promise<true | string> => (await artifacts.stat(digest)) === null || 'they are there'
  await until(check, { what: `the bytes ${digest} to go` })
}
