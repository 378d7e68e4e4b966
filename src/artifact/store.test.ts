import { ociLayout } from '../../test/support/container-image.ts'
import { rawZip } from '../../test/support/raw-zip.ts'
import { rejects } from '../../test/support/rejects.ts'
import type { Digest } from '../domain/artifact.ts'
import { silentLogger } from '../domain/logger.ts'
import { Layout } from './layout.ts'
import { openArtifactStore } from './store.ts'
import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdir, mkdtemp, readdir, readFile, rm, truncate, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { test } from 'node:test'
import type { TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { deflateRawSync } from 'node:zlib'
import { turnsUntil } from '../../test/support/turns.ts'

test('put stores the bytes once under their digest; stat and open find them', async (t) => {
  const { store, folder } = await opened(t)
  const bytes = randomBytes(1_000_000)
  const artifact = await store.put(Readable.from([bytes.subarray(0, 10), bytes.subarray(10)]))
  assert.deepEqual(artifact, { digest: digestOf(bytes), bytes: bytes.length })
  assert.deepEqual(await store.put(Readable.from([bytes])), artifact)
  assert.deepEqual(await store.stat(artifact.digest), artifact)
  assert.ok((await buffer(await store.open(artifact.digest))).equals(bytes))
  const blob = new Layout(folder).blob(artifact.digest)
  assert.deepEqual(await readdir(dirname(blob)), [basename(blob)])
  assert.deepEqual(await readdir(join(folder, 'tmp')), [])
})

test('put refuses other bytes than expected, and too many', async (t) => {
  const { store, folder } = await opened(t)
  const expect = digestOf(Buffer.from('something else'))
  await rejects(store.put(Readable.from(['abc']), { expect }), 'invalid', /have digest "sha256:ba78.*, not "sha256:/)
  const source = Readable.from(['abc', 'def'])
  await rejects(store.put(source, { bytesMax: 2 }), 'invalid', /larger than .*MiB, which is the limit/)
  assert.equal((await buffer(source)).toString(), 'def', "the rest is the connection's to read out")
  assert.deepEqual(await store.put(Readable.from(['abc']), { expect: digestOf(Buffer.from('abc')), bytesMax: 3 }), {
    digest: digestOf(Buffer.from('abc')),
    bytes: 3,
  })
  assert.equal(await store.stat(expect), null)
  assert.deepEqual(await readdir(join(folder, 'tmp')), [])
})

test('put with isOwned gives back the memory of whole pieces, never of a part of one', async (t) => {
  const { store } = await opened(t)
  const bytes = randomBytes(600_000)
  const whole = Uint8Array.from(bytes.subarray(0, 500_000))
  const part = Uint8Array.from(bytes.subarray(400_000)).subarray(100_000)
  const artifact = await store.put(Readable.from([whole, part]), { isOwned: true })
  assert.deepEqual(artifact, { digest: digestOf(bytes), bytes: bytes.length })
  assert.deepEqual([whole.byteLength, part.byteLength], [0, 100_000])
  assert.ok((await buffer(await store.open(artifact.digest))).equals(bytes))
})

test('put knows before the first byte that what is coming is too large, or more than the disk holds', async (t) => {
  const { store } = await opened(t)
  const source = Readable.from(['abc'])
  await rejects(store.put(source, { bytesExpected: 4, bytesMax: 3 }), 'invalid', /which is the limit/)
  await rejects(store.put(source, { bytesExpected: 2 ** 60, bytesMax: 2 ** 61 }), 'capacity', /MiB free, of which/)
  assert.equal((await buffer(source)).toString(), 'abc')
})

test('delete asks whether the bytes are needed, and puts of the same bytes wait for it', async (t) => {
  const { store } = await opened(t)
  const { digest } = await store.put(Readable.from(['abc']))
  await store.delete(digest, async () => true)
  assert.notEqual(await store.stat(digest), null)
  const asked = Promise.withResolvers<void>()
  const isNeeded = Promise.withResolvers<boolean>()
  const deleting = store.delete(digest, async () => {
    asked.resolve()
    return isNeeded.promise
  })
  await asked.promise
  const seen: string[] = []
  const putting = store.put(Readable.from(['abc']), { onDigest: (of) => void seen.push(of) })
  const looking = store.stat(digest)
  isNeeded.resolve(false)
  await deleting
  assert.deepEqual(await putting, { digest, bytes: 3 })
  assert.deepEqual(seen, [digest])
  assert.equal((await buffer(await store.open(digest))).toString(), 'abc')
  await looking
})

test('put passes on the error of a source that breaks off, and keeps nothing', async (t) => {
  const { store, folder } = await opened(t)
  const source = Readable.from(
    (async function* () {
      yield Buffer.from('some')
      throw new Error('connection lost')
    })(),
  )
  await assert.rejects(store.put(source), /connection lost/)
  assert.deepEqual(await readdir(join(folder, 'tmp')), [])
})

test('put and unpack answer capacity when the disk is full, and keep nothing', async (t) => {
  const small = await openedOnSmallDisk(t, '2m')
  if (small === null) return
  const { store, folder } = small
  await rejects(
    store.put(Readable.from([randomBytes(4_000_000)])),
    'capacity',
    /disk that holds the data folder is full/,
  )
  assert.deepEqual(await readdir(join(folder, 'tmp')), [])
  const { digest } = await store.put(Readable.from([rawZip([{ name: 'a', content: randomBytes(1_500_000) }])]))
  await rejects(store.unpack(digest), 'capacity', /disk that holds the data folder is full/)
  assert.deepEqual(await readdir(join(folder, 'tmp')), [])
  assert.deepEqual(await readdir(join(folder, 'trees')), [])
})

test('unpack stops at the size an entry claims, before a bomb fills the disk', async (t) => {
  const small = await openedOnSmallDisk(t, '16m')
  if (small === null) return
  const packed = deflateRawSync(Buffer.alloc(64 * 1024 * 1024))
  const bomb = rawZip([{ name: 'a', packed, claimedBytes: 5_000_000 }])
  const { digest } = await small.store.put(Readable.from([bomb]))
  await rejects(small.store.unpack(digest), 'invalid', /does not unpack to the 5000000 bytes that it claims/)
})

test('open and unpack of an unknown digest are not_found', async (t) => {
  const { store } = await opened(t)
  const digest = digestOf(Buffer.from('never uploaded'))
  await rejects(store.open(digest), 'not_found', /does not exist\. Upload it first/)
  await rejects(store.unpack(digest), 'not_found', /does not exist\. Upload it first/)
  assert.equal(await store.stat(digest), null)
})

test('unpack works once for many callers, and finds the tree again after a restart', async (t) => {
  const { store, folder } = await opened(t)
  const { digest } = await store.put(Readable.from([rawZip([{ name: 'index.js', content: 'export {}' }])]))
  const results = await Promise.all(Array.from({ length: 10 }, () => store.unpack(digest)))
  for (const result of results) assert.deepEqual(result, results[0])
  await store.close()
  const again = await openArtifactStore({ folder, logger: silentLogger })
  t.after(() => again.close())
  assert.deepEqual(await again.unpack(digest), results[0])
})

test('unpack of a damaged blob is internal, and putting the bytes again heals it', async (t) => {
  const { store, folder } = await opened(t)
  const zip = rawZip([{ name: 'index.js', content: 'export {}' }])
  const { digest } = await store.put(Readable.from([zip]))
  await damage(folder, digest)
  await rejects(store.unpack(digest), 'internal', /is damaged on disk\. Upload the same bytes again/)
  await rejects(buffer(await store.open(digest)), 'internal', /is damaged on disk/)
  await store.put(Readable.from([zip]))
  assert.equal((await store.unpack(digest)).entries, 1)
})

test('unpackImage lays an image flat once, apart from trees of archives; verify follows no link in it, delete removes it', async (t) => {
  const { store, folder } = await opened(t)
  const layer = [
    { name: 'bin/tool', mode: 0o755, content: 'tool' },
    { name: 'up', type: 'symlink', linkname: '/' },
  ] as const
  const archive = await ociLayout({ layers: [layer], config: { Cmd: ['tool'] } })
  const { digest } = await store.put(Readable.from([archive]))
  const [image, same] = await Promise.all([store.unpackImage(digest, hostArch), store.unpackImage(digest, hostArch)])
  assert.equal(image, same)
  assert.equal(await readFile(join(image.folder, 'bin/tool'), 'utf8'), 'tool')
  assert.deepEqual(image.facts.command, ['tool'])
  assert.deepEqual(await store.unpackImage(digest, hostArch), image)
  await rejects(store.unpack(digest), 'invalid', /Cannot unpack/)
  assert.deepEqual(await store.verify(), [])
  await rm(join(image.folder, 'bin/tool'))
  assert.match((await store.verify())[0]?.problem ?? '', /the unpacked tree has/)
  await store.delete(digest)
  for (const kind of ['roots', 'trees', 'tmp']) assert.deepEqual(await readdir(join(folder, kind)), [], kind)
})

const hostArch = process.arch === 'arm64' ? 'arm64' : 'x86_64'

test('unpack and unpackImage: a tree whose sidecar is of an older store, damaged or gone is made anew', async (t) => {
  const { store, folder } = await opened(t)
  const put = async (bytes: Buffer): Promise<Digest> => (await store.put(Readable.from([bytes]))).digest
  const image = await put(await ociLayout({ layers: [[{ name: 'tool', content: 'tool' }]], config: { Cmd: ['tool'] } }))
  const zip = await put(rawZip([{ name: 'tool', content: 'tool' }]))
  const { facts } = await store.unpackImage(image, hostArch)
  const withoutUser = JSON.stringify({ bytes: 4, entries: 1, facts: { ...facts, user: undefined } })
  for (const [digest, older, unpack] of [
    [image, withoutUser, () => store.unpackImage(image, hostArch)],
    [zip, JSON.stringify({ bytes: 4, entries: 1, facts }), () => store.unpack(zip)],
  ] as const)
    for (const sidecar of [older, '{"bytes":4,"ent', 'null', '{}', null]) {
      const made = await unpack()
      await writeFile(join(made.folder, 'of before'), 'x')
      if (sidecar === null) await rm(`${made.folder}.json`)
      else await writeFile(`${made.folder}.json`, sidecar)
      if (sidecar !== older) assert.match((await store.verify())[0]?.problem ?? '', /has no record of what belongs/)
      assert.deepEqual(await unpack(), made, `${digest} with ${sidecar}`)
      const names = await readdir(made.folder)
      assert.deepEqual([names.includes('tool'), names.includes('of before')], [true, false])
      assert.deepEqual([await store.verify(), await readdir(join(folder, 'tmp'))], [[], []])
    }
})

test('verify names damaged blobs and trees that miss files, and nothing else', async (t) => {
  const { store, folder } = await opened(t)
  const good = await store.put(Readable.from([rawZip([{ name: 'a', content: '1' }])]))
  const bad = await store.put(Readable.from([rawZip([{ name: 'a', content: '2' }])]))
  const torn = await store.put(Readable.from([rawZip([{ name: 'a', content: '3' }])]))
  await store.unpack(good.digest)
  assert.deepEqual(await store.verify(), [])
  const tree = await store.unpack(torn.digest)
  await rm(join(tree.folder, 'a'))
  await damage(folder, bad.digest)
  const problems = new Map((await store.verify()).map(({ digest, problem }) => [digest, problem]))
  assert.deepEqual([...problems.keys()].toSorted(), [bad.digest, torn.digest].toSorted())
  assert.match(problems.get(bad.digest) ?? '', /the stored bytes have digest/)
  assert.match(problems.get(torn.digest) ?? '', /has 0 entries and 0 bytes instead of 1 and 1/)
})

test('delete removes blob and tree; deleting again does nothing', async (t) => {
  const { store, folder } = await opened(t)
  const { digest } = await store.put(Readable.from([rawZip([{ name: 'a', content: '1' }])]))
  await store.unpack(digest)
  await store.delete(digest)
  await store.delete(digest)
  assert.equal(await store.stat(digest), null)
  assert.deepEqual(await readdir(join(folder, 'trees')), [])
  assert.deepEqual(await readdir(join(folder, 'tmp')), [])
})

test('derived fills once, keeps nothing of a fill that fails, and finds the folder again', async (t) => {
  const { store, folder } = await opened(t)
  const of = { key: 'k', from: [] }
  const failing = store.derived(of, async (draft) => {
    await writeFile(join(draft, 'half'), 'x')
    throw new Error('no luck')
  })
  await assert.rejects(failing, /no luck/)
  assert.deepEqual(await readdir(join(folder, 'tmp')), [])
  let fills = 0
  const fill = async (draft: string): Promise<void> => {
    fills++
    await mkdir(join(draft, 'sub'))
    await writeFile(join(draft, 'sub/cache'), 'bytes')
  }
  const folders = await Promise.all([store.derived(of, fill), store.derived(of, fill)])
  assert.equal(await store.derived(of, fill), folders[0])
  assert.equal(fills, 1)
  assert.equal(await readFile(join(folders[0], 'sub/cache'), 'utf8'), 'bytes')
  assert.notEqual(await store.derived({ ...of, key: 'other' }, fill), folders[0])
})

test('delete removes what was derived from the bytes, also what a store before this one made, and nothing else', async (t) => {
  const { store, folder } = await opened(t)
  const [code, layer, other] = [digestOf(Buffer.from('1')), digestOf(Buffer.from('2')), digestOf(Buffer.from('3'))]
  const fill = async (draft: string): Promise<void> => writeFile(join(draft, 'cache'), 'bytes')
  const layered = await store.derived({ key: 'layered', from: [code, layer] }, fill)
  const alone = await store.derived({ key: 'alone', from: [code] }, fill)
  await store.close()
  const again = await openArtifactStore({ folder, logger: silentLogger })
  t.after(() => again.close())
  await again.delete(other)
  const late = await again.derived({ key: 'late', from: [layer] }, fill)
  const names = async (): Promise<string[]> => (await readdir(join(folder, 'derived'))).toSorted()
  assert.equal((await names()).length, 6)
  await again.delete(layer)
  assert.deepEqual(await names(), [basename(alone), `${basename(alone)}.json`])
  assert.notEqual(await again.derived({ key: 'layered', from: [code, layer] }, fill), late)
  // As it was before sources were told.
  await rm(`${layered}.json`)
  const third = await openArtifactStore({ folder, logger: silentLogger })
  t.after(() => third.close())
  assert.equal(await third.derived({ key: 'layered', from: [code, layer] }, fill), layered)
  await third.delete(code)
  assert.deepEqual(await names(), [])
  assert.deepEqual(await readdir(join(folder, 'tmp')), [])
})

test('delete and list: a damaged sidecar of a derived folder is in the way of no other, and is mended when the folder is asked for', async (t) => {
  const { store, folder } = await opened(t)
  const [code, layer] = [digestOf(Buffer.from('1')), digestOf(Buffer.from('2'))]
  const fill = async (draft: string): Promise<void> => writeFile(join(draft, 'cache'), 'bytes')
  const damaged = await store.derived({ key: 'damaged', from: [code] }, fill)
  await store.derived({ key: 'whole', from: [layer] }, fill)
  await writeFile(`${damaged}.json`, '{"from":["sha')
  await store.close()
  const again = await openArtifactStore({ folder, logger: silentLogger })
  t.after(() => again.close())
  const sources = async (): Promise<Digest[]> => (await again.list(() => true)).map(({ digest }) => digest)
  assert.deepEqual(await sources(), [layer])
  await again.delete(layer)
  assert.deepEqual(await sources(), [])
  assert.equal(await again.derived({ key: 'damaged', from: [code] }, fill), damaged)
  assert.deepEqual(await sources(), [code])
  await again.delete(code)
  assert.deepEqual(await readdir(join(folder, 'derived')), [])
})

test('list names every digest of which anything is here, and since when', async (t) => {
  const { store, folder } = await opened(t)
  const whole = await store.put(Readable.from([rawZip([{ name: 'a', content: '1' }])]))
  const bare = await store.put(Readable.from([rawZip([{ name: 'a', content: '2' }])]))
  for (const { digest } of [whole, bare]) await store.unpack(digest)
  const layout = new Layout(folder)
  await utimes(layout.blob(whole.digest), 1_000, 1_000)
  await utimes(layout.tree(whole.digest), 5_000, 5_000)
  await rm(layout.blob(bare.digest))
  await utimes(layout.tree(bare.digest), 2_000, 2_000)
  const gone = digestOf(Buffer.from('gone'))
  await store.derived({ key: 'k', from: [whole.digest, gone] }, async () => {})
  const found = new Map((await store.list(() => true)).map(({ digest, writtenAt }) => [digest, writtenAt]))
  assert.equal(found.size, 3)
  assert.equal(found.get(whole.digest), 1_000_000)
  assert.equal(found.get(bare.digest), 2_000_000)
  assert.deepEqual(await store.list((digest) => digest === gone), [{ digest: gone, writtenAt: 0 }])
})

test('openArtifactStore clears what a crash left in tmp, and touches nothing else', async (t) => {
  const { store, folder } = await opened(t)
  const artifact = await store.put(Readable.from(['abc']))
  await store.close()
  await mkdir(join(folder, 'tmp/half-a-tree/deep'), { recursive: true })
  await writeFile(join(folder, 'tmp/half-a-blob'), 'ab')
  const again = await openArtifactStore({ folder, logger: silentLogger })
  t.after(() => again.close())
  assert.deepEqual(await readdir(join(folder, 'tmp')), [])
  assert.deepEqual(await again.stat(artifact.digest), artifact)
})

test('after kill -9 at any moment, what is visible is whole and tmp is cleared', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'hearth-artifact-'))
  t.after(() => rm(folder, { recursive: true }))
  const deployer = fileURLToPath(new URL('../../test/support/artifact-deployer.ts', import.meta.url))
  for (let round = 0; round < 4; round++) {
    const child = spawn(process.execPath, [deployer, folder], { stdio: ['ignore', 'pipe', 'inherit'] })
    const exited = once(child, 'exit')
    await once(child.stdout, 'data')
    await sleep(round * 37)
    child.kill('SIGKILL')
    await exited
    const store = await openArtifactStore({ folder, logger: silentLogger })
    assert.deepEqual(await readdir(join(folder, 'tmp')), [])
    assert.deepEqual(await store.verify(), [])
    await store.close()
  }
  assert.ok((await readdir(join(folder, 'trees'))).length > 0)
})

test('close rejects an unpack under way', async (t) => {
  const { store } = await opened(t)
  const { digest } = await store.put(Readable.from([rawZip([{ name: 'a', content: '1' }])]))
  const unpacking = rejects(store.unpack(digest), 'internal', /The artifact store is closed/)
  await store.close()
  await unpacking
})

test('put and unpack of a 50 MB zip do not stop the event loop (figure: npm run promises)', async (t) => {
  const { store } = await opened(t)
  const zip = largeZip()
  const put = store.put(Readable.from([zip]))
  const putTurns = await turnsUntil(put)
  const unpackTurns = await turnsUntil(store.unpack((await put).digest))
  // Done on this thread each would be some turns a file, however slow the machine is.
  t.diagnostic(`turns of the event loop: ${putTurns}, ${unpackTurns}`)
  assert.ok(putTurns > 3_000 && unpackTurns > 3_000, `${putTurns}, ${unpackTurns} turns of the event loop`)
})

/** 50 MB: 400 text files that deflate to a half, and one large file that does not. */
function largeZip(): Buffer {
  const text = Array.from({ length: 400 }, (_, i) => ({
    name: `lib/${i % 20}/${i}.js`,
    content: randomBytes(60_000).toString('hex'),
  }))
  return rawZip([...text, { name: 'model.bin', content: randomBytes(24_000_000), method: 0 }])
}

function digestOf(bytes: Buffer): Digest {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`
}

async function damage(folder: string, digest: Digest): Promise<void> {
  await truncate(new Layout(folder).blob(digest), 5)
}

async function opened(t: TestContext) {
  const folder = await mkdtemp(join(tmpdir(), 'hearth-artifact-'))
  t.after(() => rm(folder, { recursive: true }))
  const store = await openArtifactStore({ folder, logger: silentLogger })
  t.after(() => store.close())
  return { store, folder }
}

/** A store on a file system of `size`, or null (and the test is skipped) where none can be mounted. */
async function openedOnSmallDisk(t: TestContext, size: string) {
  const folder = await mkdtemp(join(tmpdir(), 'hearth-artifact-'))
  if (spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${size}`, 'tmpfs', folder]).status !== 0) {
    await rm(folder, { recursive: true })
    t.skip('mounting a small file system needs root')
    return null
  }
  const store = await openArtifactStore({ folder, logger: silentLogger })
  t.after(async () => {
    await store.close()
    spawnSync('umount', [folder])
    await rm(folder, { recursive: true })
  })
  return { store, folder }
}
