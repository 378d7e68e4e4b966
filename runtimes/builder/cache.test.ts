import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import {
  createWriteStream,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { once } from 'node:events'
import { test, type TestContext } from 'node:test'

interface Cache {
  filesOf(root: string, rule: { folders: string[]; keep: string; omit: string }): string[]
  pack(root: string, names: readonly string[], output: NodeJS.WritableStream): Promise<void>
  unpack(file: string, root: string): Promise<string[]>
}
const cache: Cache = createRequire(import.meta.url)('./cache.cjs')
const rule = { folders: ['c'], keep: '^c/', omit: String.raw`\.lock$` }

function scratch(t: TestContext): { from: string; to: string; file: string } {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'hearth-cache-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  const [from, to] = [path.join(folder, 'from'), path.join(folder, 'to')]
  mkdirSync(path.join(from, 'c/d/empty'), { recursive: true })
  writeFileSync(path.join(from, 'c/d/large'), Buffer.alloc(1_000_000, 'large\n'))
  writeFileSync(path.join(from, 'c/program'), '{"name":"c/no header"}\n', { mode: 0o755 })
  writeFileSync(path.join(from, 'c/none'), '')
  writeFileSync(path.join(from, 'c/x.lock'), '')
  utimesSync(path.join(from, 'c/program'), 1000.25, 1000.25)
  return { from, to, file: path.join(folder, 'pack') }
}

async function packed(from: string, file: string): Promise<string[]> {
  const names = cache.filesOf(from, rule)
  const output = createWriteStream(file)
  await cache.pack(from, names, output)
  output.end()
  await once(output, 'close')
  return names
}

test('pack and unpack: bytes, modes, times and empty folders come back', async (t) => {
  const { from, to, file } = scratch(t)
  const names = await packed(from, file)
  assert.deepEqual(names, ['c/d/empty/', 'c/d/large', 'c/none', 'c/program'])
  assert.deepEqual(await cache.unpack(file, to), names)
  for (const name of names.slice(1))
    assert.deepEqual(readFileSync(path.join(to, name)), readFileSync(path.join(from, name)))
  const program = statSync(path.join(to, 'c/program'))
  assert.deepEqual([program.mode & 0o777, program.mtimeMs], [0o755, 1_000_250])
  assert.ok(statSync(path.join(to, 'c/d/empty')).isDirectory())
})

test('unpack refuses what is cut off, what is none, and what was made later than now', async (t) => {
  const { from, to, file } = scratch(t)
  await packed(from, file)
  writeFileSync(`${file}-half`, readFileSync(file).subarray(0, -40))
  await assert.rejects(cache.unpack(`${file}-half`, to))
  writeFileSync(`${file}-zeros`, Buffer.alloc(5000))
  await assert.rejects(cache.unpack(`${file}-zeros`, to))
  await assert.rejects(cache.unpack(`${file}-absent`, to), { code: 'ENOENT' })
  const tomorrow = Date.now() / 1000 + 86_400
  utimesSync(path.join(from, 'c/none'), tomorrow, tomorrow)
  await packed(from, file)
  await assert.rejects(cache.unpack(file, to), /made later than now/)
})
