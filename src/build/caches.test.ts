import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { text } from 'node:stream/consumers'
import { test, type TestContext } from 'node:test'
import { BuildCache } from './build-cache.ts'
import { Caches, type CacheEntries, type CachedBuild, type CacheScope } from './caches.ts'
import type { SandboxResult } from './sandbox-run.ts'

const part = { title: 'the library', files: new Map([['a', '1']]), steps: [] }
const scope: CacheScope = { project: 'a', toolchain: 'go', lock: 'l', parts: [part] }

interface Rig {
  readonly caches: Caches
  readonly said: string[]
  /** What went in and out of the sandbox, in order. */
  readonly ran: { what: string; got: string[] }[]
  by(leaves: string | null, own?: Partial<CachedBuild>): CachedBuild
}

function rig(t: TestContext, { isBroken = false } = {}): Rig {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'hearth-caches-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  // A file where a folder is needed: it can be neither read nor made.
  if (isBroken) for (const name of ['shared', 'own']) writeFileSync(path.join(folder, name), '')
  const cache = (name: string): BuildCache => new BuildCache({ folder: path.join(folder, name), bytesMax: 1000 })
  const [said, ran]: [string[], Rig['ran']] = [[], []]
  const gotten = async ({ shared, own }: CacheEntries): Promise<string[]> =>
    Promise.all([...shared, ...own].map(async ({ content }) => text(content)))
  const result = (isCacheWhole: boolean): SandboxResult => ({
    program: Buffer.from('p'),
    said: '',
    cacheFailed: null,
    isCacheWhole,
  })
  const by: Rig['by'] = (leaves, own) => ({
    report: (line) => void said.push(line),
    make: async ({ title }, { caches: given, draft }) => {
      ran.push({ what: title, got: await gotten(given) })
      await draft.write(Buffer.from(`compiled ${title}`))
      return result(true)
    },
    build: async ({ caches: given, draft }) => {
      ran.push({ what: 'build', got: await gotten(given) })
      await draft.write(Buffer.from(leaves ?? 'half'))
      return result(leaves !== null)
    },
    ...own,
  })
  return { caches: new Caches({ shared: cache('shared'), own: cache('own') }), said, ran, by }
}

test('Caches has shared parts made once, and gives a build what the last one left', async (t) => {
  const { caches, ran, by, said } = rig(t)
  await caches.around(scope, by('left'))
  await caches.around(scope, by(null))
  await caches.around({ ...scope, lock: 'other' }, by(null))
  assert.deepEqual(ran, [
    { what: 'the library', got: [] },
    { what: 'build', got: ['compiled the library'] },
    { what: 'build', got: ['compiled the library', 'left'] },
    { what: 'build', got: ['compiled the library', 'left'] },
  ])
  assert.deepEqual(said, [
    'Compiling the library, once for this toolchain ...',
    'Cache: the library.',
    'Kept 0.0 MB for the next build.',
    'Cache: the library; what a build with the same lock file left.',
    'Cache: the library; what a build with another lock file left.',
  ])
})

test('Caches gives no project what another left', async (t) => {
  const { caches, ran, by } = rig(t)
  await caches.around(scope, by('secret of a'))
  await caches.around({ ...scope, project: 'b' }, by(null))
  assert.deepEqual(ran.at(-1), { what: 'build', got: ['compiled the library'] })
})

test('Caches keeps nothing of a build that fails, or whose cache is not whole', async (t) => {
  const { caches, ran, by } = rig(t)
  const fails = async (): Promise<never> => {
    throw new Error('no such name')
  }
  await assert.rejects(caches.around(scope, by('left', { build: fails })), /no such name/)
  await caches.around(scope, by(null))
  await caches.around(scope, by(null))
  assert.deepEqual(ran.at(-1)?.got, ['compiled the library'])
})

test('Caches makes a shared part once for two builds at a time', async (t) => {
  const { caches, ran, by } = rig(t)
  await Promise.all([caches.around(scope, by(null)), caches.around(scope, by(null))])
  assert.deepEqual(ran.map(({ what }) => what).toSorted(), ['build', 'build', 'the library'])
})

test('Caches builds without a shared part that cannot be made, and says why', async (t) => {
  const { caches, ran, by, said } = rig(t)
  const make = async (): Promise<never> => {
    throw new Error('no network')
  }
  await caches.around(scope, by(null, { make }))
  assert.deepEqual(ran, [{ what: 'build', got: [] }])
  assert.deepEqual(said.slice(1), ['Not compiled ahead: no network', 'Cache: nothing yet.'])
})

test('Caches makes a second part on top of the first', async (t) => {
  const { caches, ran, by } = rig(t)
  const more = { ...part, title: 'more', files: new Map([['b', '2']]) }
  await caches.around({ ...scope, parts: [part, more] }, by(null))
  assert.deepEqual(ran, [
    { what: 'the library', got: [] },
    { what: 'more', got: ['compiled the library'] },
    { what: 'build', got: ['compiled the library', 'compiled more'] },
  ])
})

test('Caches builds where no cache can be read or written, and says so', async (t) => {
  const { caches, ran, by, said } = rig(t, { isBroken: true })
  assert.equal((await caches.around(scope, by('left'))).program.toString(), 'p')
  assert.deepEqual(ran.at(-1), { what: 'build', got: [] })
  assert.match(
    said.join('\n'),
    /A cache cannot be read: ENOTDIR[^]*Cache: nothing yet\.\nNothing is kept for the next build: /,
  )
})
