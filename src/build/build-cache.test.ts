import assert from 'node:assert/strict'
import { readdir, utimes, writeFile } from 'node:fs/promises'
import { mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { test, type TestContext } from 'node:test'
import { text } from 'node:stream/consumers'
import { BuildCache, type CacheEntry, type CacheKey } from './build-cache.ts'

const key: CacheKey = { owner: 'project a', toolchain: 'go 1.26.8', lock: 'one' }

function scratch(t: TestContext): string {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'hearth-build-cache-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

async function put(cache: BuildCache, of: CacheKey, content: string): Promise<void> {
  const draft = await cache.draft(of)
  await draft.write(Buffer.from(content))
  assert.equal(await draft.commit(), content.length)
}

async function read(entry: CacheEntry | null): Promise<string | null> {
  return entry === null ? null : text(entry.content)
}

test('BuildCache gives what was committed, and the newest with another lock where there is none', async (t) => {
  const cache = new BuildCache({ folder: scratch(t), bytesMax: 1000 })
  assert.equal(await cache.openNearest(key), null)
  await put(cache, key, 'first')
  const entry = await cache.openNearest(key)
  assert.deepEqual([entry?.isExact, entry?.bytes], [true, 5])
  assert.equal(await read(entry), 'first')
  const near = await cache.openNearest({ ...key, lock: 'two' })
  assert.equal(near?.isExact, false)
  assert.equal(await read(near), 'first')
  assert.equal(await cache.open({ ...key, lock: 'two' }), null)
})

test('BuildCache never gives an entry of another owner or toolchain', async (t) => {
  const cache = new BuildCache({ folder: scratch(t), bytesMax: 1000 })
  await put(cache, key, 'mine')
  for (const other of [
    { owner: 'project b' },
    { toolchain: 'go 1.22.12' },
    { owner: 'project', toolchain: 'a go 1.26.8' },
  ])
    assert.equal(await cache.openNearest({ ...key, ...other }), null)
})

test('BuildCache shows nothing of a draft that is not committed', async (t) => {
  const folder = scratch(t)
  const cache = new BuildCache({ folder, bytesMax: 1000 })
  const draft = await cache.draft(key)
  await draft.write(Buffer.from('half'))
  assert.equal(await cache.openNearest(key), null)
  await draft.discard()
  assert.deepEqual(await readdir(folder), [])
})

test('BuildCache evicts what was used longest ago, and whoever has it open reads on', async (t) => {
  const folder = scratch(t)
  const cache = new BuildCache({ folder, bytesMax: 25 })
  const [a, b, c] = ['a', 'b', 'c'].map((lock) => ({ ...key, lock }))
  assert.ok(a !== undefined && b !== undefined && c !== undefined)
  await put(cache, a, 'aaaaaaaaaa')
  await put(cache, b, 'bbbbbbbbbb')
  for (const name of await readdir(folder)) await utimes(path.join(folder, name), new Date(0), new Date(0))
  const used = await cache.open(a)
  const open = await cache.open(b)
  // Opened last, it was used last: the other one goes.
  for (const name of await readdir(folder)) await utimes(path.join(folder, name), new Date(0), new Date(0))
  ;(await cache.open(a))?.content.destroy()
  await put(cache, c, 'cccccccccc')
  assert.equal(await cache.open(b), null)
  assert.equal(await read(open), 'bbbbbbbbbb')
  assert.equal(await read(used), 'aaaaaaaaaa')
})

test('BuildCache forgets an entry, but not the one that came in its place', async (t) => {
  const cache = new BuildCache({ folder: scratch(t), bytesMax: 1000 })
  await put(cache, key, 'broken')
  const broken = await cache.open(key)
  await put(cache, key, 'good')
  await broken?.forget()
  const good = await cache.open(key)
  assert.equal(await read(good), 'good')
  await good?.forget()
  assert.equal(await cache.open(key), null)
  broken?.content.destroy()
})

test('BuildCache takes two drafts of one key at a time', async (t) => {
  const cache = new BuildCache({ folder: scratch(t), bytesMax: 1000 })
  const [one, two] = [await cache.draft(key), await cache.draft(key)]
  await Promise.all([one.write(Buffer.from('one')), two.write(Buffer.from('two'))])
  await Promise.all([one.commit(), two.commit()])
  assert.match((await read(await cache.open(key))) ?? '', /^(one|two)$/)
})

test('BuildCache removes drafts of whoever was killed', async (t) => {
  const folder = scratch(t)
  const cache = new BuildCache({ folder, bytesMax: 1000 })
  const [old, recent] = ['old.draft', 'recent.draft'].map((name) => path.join(folder, name))
  assert.ok(old !== undefined && recent !== undefined)
  for (const file of [old, recent]) await writeFile(file, '')
  await utimes(old, new Date(0), new Date(0))
  await put(cache, key, 'x')
  const left = await readdir(folder)
  assert.deepEqual([left.includes('old.draft'), left.includes('recent.draft')], [false, true])
})
