import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { after, test } from 'node:test'
import { codeImageBytes } from '../domain/image.ts'
import { planErofs, writeErofs } from './erofs.ts'
import { Tree } from './tree.ts'
import { addFolder } from './tree-walk.ts'

const scratch = mkdtempSync(path.join(os.tmpdir(), 'hearth-erofs-'))
after(() => rmSync(scratch, { recursive: true, force: true }))

const uuid = Buffer.from('0123456789abcdef0123456789abcdef', 'hex')
const hasTools = ['fsck.erofs', 'dump.erofs'].every((program) => {
  try {
    execFileSync('which', [program], { env: { PATH: `${process.env['PATH']}:/usr/sbin:/sbin` } })
    return true
  } catch {
    return false
  }
})

function tool(program: string, ...args: string[]): string {
  return execFileSync(program, args, { encoding: 'utf8', env: { PATH: `${process.env['PATH']}:/usr/sbin:/sbin` } })
}

/** Sizes around every boundary of the format, a folder of many blocks, links and names that sort in front of `.`. */
function makeSource(name: string, order: 'up' | 'down'): string {
  const source = path.join(scratch, name)
  mkdirSync(path.join(source, 'many/deep'), { recursive: true })
  const sizes = [0, 1, 2047, 2048, 2049, 4063, 4064, 4065, 4095, 4096, 4097, 6144, 6145, 8192, 70_000, 1_100_000]
  const files = sizes.map((bytes) => [`size-${bytes}`, Buffer.alloc(bytes, `${bytes} `)] as const)
  const many = Array.from({ length: 700 }, (_, n) => [`many/file-${n}`, Buffer.from(String(n))] as const)
  const odd = [
    ['#first', Buffer.from('#')],
    ['-dash', Buffer.from('-')],
    [`long-${'x'.repeat(240)}`, Buffer.from('long')],
    ['many/deep/\u{e9}t\u{e9}', Buffer.from('summer')],
  ] as const
  const all = [...files, ...many, ...odd]
  for (const [file, content] of order === 'up' ? all : all.toReversed())
    writeFileSync(path.join(source, file), content, { mode: file.endsWith('0') ? 0o751 : 0o600 })
  symlinkSync('size-1', path.join(source, 'link'))
  symlinkSync(`../${'many/../'.repeat(100)}size-1`, path.join(source, 'many/long-link'))
  return source
}

function treeOf(source: string): Tree {
  const tree = new Tree()
  addFolder(tree, { source, target: '' })
  return tree
}

test('writeErofs: fsck.erofs finds nothing wrong, and extracts exactly what went in', (t) => {
  if (!hasTools) return t.skip('needs fsck.erofs (package erofs-utils)')
  const source = makeSource('round-trip', 'up')
  const file = path.join(scratch, 'round-trip.erofs')
  const tree = treeOf(source)
  const plan = planErofs(tree)
  writeErofs(plan, { file, uuid })
  const { bytes } = plan
  assert.equal(statSync(file).size, bytes)
  const out = path.join(scratch, 'extracted')
  tool('fsck.erofs', `--extract=${out}`, file)
  tool('diff', '-r', '--no-dereference', source, out)
  assert.equal(statSync(path.join(out, 'size-0')).mode & 0o777, 0o755)
  assert.equal(statSync(path.join(out, 'size-1')).mode & 0o777, 0o644)
  assert.match(tool('dump.erofs', '-s', file), /UUID: +01234567-89ab-cdef-0123-456789abcdef/)
  // Counted with the root folder.
  assert.match(tool('dump.erofs', '-s', file), new RegExp(`inode count: +${tree.entries().length}\\n`))
})

test('writeErofs: the same tree gives the same bytes, whatever order, times, owners and permissions it had on disk', () => {
  const [a, b] = [treeOf(makeSource('order-up', 'up')), treeOf(makeSource('order-down', 'down'))]
  assert.equal(a.digest(), b.digest())
  const files = [path.join(scratch, 'a.erofs'), path.join(scratch, 'b.erofs')] as const
  writeErofs(planErofs(a), { file: files[0], uuid })
  writeErofs(planErofs(b), { file: files[1], uuid })
  assert.ok(readFileSync(files[0]).equals(readFileSync(files[1])))
})

test('writeErofs: a size of the whole image costs no disk, and is refused when the tree does not fit', () => {
  const tree = new Tree()
  tree.write('task/index.js', 'exports.handler = () => 1\n')
  const file = path.join(scratch, 'sparse.erofs')
  writeErofs(planErofs(tree), { file, uuid, imageBytes: codeImageBytes })
  assert.equal(statSync(file).size, codeImageBytes)
  assert.ok(statSync(file).blocks * 512 <= 16 * 1024)
  tree.write('task/large', Buffer.alloc(3 * 2 ** 20))
  assert.throws(() => writeErofs(planErofs(tree), { file: `${file}2`, uuid, imageBytes: 2 ** 20 }), {
    code: 'invalid',
    message:
      "Code, layers and bytecode take 4 MiB as an image; a microVM's code drive holds 1 MiB. Leave out what the function does not need.",
  })
})

test('writeErofs: a file that changed after it was hashed is refused by name', () => {
  const source = makeSource('changing', 'up')
  const tree = treeOf(source)
  writeFileSync(path.join(source, 'size-1100000'), Buffer.alloc(1_100_000, 'other'))
  const file = path.join(scratch, 'changed.erofs')
  const expected = { code: 'driver_failed', retryable: true, message: /"size-1100000" changed while it was being made/ }
  assert.throws(() => writeErofs(planErofs(tree), { file, uuid }), expected)
  writeFileSync(path.join(source, 'size-1100000'), 'shorter')
  assert.throws(() => writeErofs(planErofs(tree), { file: `${file}2`, uuid }), expected)
})
