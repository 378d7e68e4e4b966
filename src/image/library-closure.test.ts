import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { after, test } from 'node:test'
import { addLibraries, systemLibraries, type ClosureOptions } from './library-closure.ts'
import { Tree } from './tree.ts'
import { addFile } from './tree-walk.ts'

const scratch = mkdtempSync(path.join(os.tmpdir(), 'hearth-libraries-'))
after(() => rmSync(scratch, { recursive: true, force: true }))

const arch = process.arch === 'arm64' ? 'arm64' : 'x64'
const options: ClosureOptions = { arch, placeOf: (file) => file.slice(1), isOptional: () => false, skipped: () => {} }

/** /bin/ls as a file of its own, with one library's name spoiled. */
function lsWithout(library: string): string {
  const program = readFileSync('/bin/ls')
  const at = program.indexOf(`${library}\0`)
  assert.notEqual(at, -1, library)
  program.write('libgone', at)
  const file = path.join(scratch, 'ls-without')
  writeFileSync(file, program, { mode: 0o755 })
  return file
}

test('addLibraries: what ldd finds for a program, found without running anything', (t) => {
  if (process.platform !== 'linux') return t.skip('reads ELF')
  const tree = new Tree()
  addFile(tree, realpathSync('/bin/ls'), 'usr/bin/ls')
  addLibraries(tree, options)
  const listed = execFileSync('ldd', ['/bin/ls'], { encoding: 'utf8' })
  const names = [...listed.matchAll(/^\s+(\S+) => \//gm)].map(([, name]) => name ?? '')
  assert.ok(names.includes('libc.so.6'))
  for (const name of names) assert.equal(tree.get(`${systemLibraries[arch]}/${name}`)?.type, 'file', name)
  const loader = /^\s+\/(lib\S+\/ld-\S+)/m.exec(listed)?.[1]
  assert.equal(tree.get(`usr/${loader}`)?.type, 'file')
})

test('addLibraries: a missing library is an error that names both, or costs an optional file alone', () => {
  const file = lsWithout('libc.so.6')
  const tree = new Tree()
  addFile(tree, file, 'usr/bin/ls')
  assert.throws(() => addLibraries(tree, options), {
    code: 'driver_failed',
    message: 'Cannot put "/usr/bin/ls" into an image: its library libgone.6 is not on this machine.',
  })
  const skipped: string[] = []
  const optional: ClosureOptions = {
    ...options,
    isOptional: (name) => name === 'usr/bin/ls',
    skipped: (what) => skipped.push(what),
  }
  addLibraries(tree, optional)
  assert.equal(tree.get('usr/bin/ls'), undefined)
  assert.deepEqual(skipped, ['/usr/bin/ls: its library libgone.6 is not on this machine'])
})
