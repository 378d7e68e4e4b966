import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { after, test } from 'node:test'
import { Tree } from './tree.ts'
import { addFile, addFolder } from './tree-walk.ts'

const scratch = mkdtempSync(path.join(os.tmpdir(), 'hearth-tree-'))
after(() => rmSync(scratch, { recursive: true, force: true }))

function folder(name: string, files: Readonly<Record<string, string>>): string {
  for (const [file, content] of Object.entries(files)) {
    const target = path.join(scratch, name, file)
    mkdirSync(path.dirname(target), { recursive: true })
    writeFileSync(target, content)
  }
  return path.join(scratch, name)
}

test('Tree: the manifest lists every entry once, sorted, and its digest is that of the list', () => {
  const tree = new Tree()
  tree.write('b/file', 'x')
  tree.link('a', 'b/file')
  assert.equal(
    tree.manifest(),
    [
      'hearth tree 1',
      'folder 0755 ""',
      'link "b/file" "a"',
      'folder 0755 "b"',
      'file 0644 1 2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881 "b/file"',
      '',
    ].join('\n'),
  )
  assert.equal(tree.digest(), 'sha256:7c37b9f811533052a359ce97034711e8682d3a8c113645030d7fcf3b3adb7e01')
})

test('addFolder: a later layer covers an earlier one, file over folder and folder over file', () => {
  const tree = new Tree()
  addFolder(tree, { source: folder('layer-1', { both: '1', 'x/in': '1', y: '1' }), target: 'opt' })
  addFolder(tree, { source: folder('layer-2', { both: '2', x: '2', 'y/in': '2' }), target: 'opt' })
  const found = tree
    .entries()
    .map(([name, entry]) => `${name} ${entry.type === 'file' ? entry.sha256.slice(0, 4) : ''}`)
  const two = 'd473' // Of "2".
  assert.deepEqual(found, [' ', 'opt ', `opt/both ${two}`, `opt/x ${two}`, 'opt/y ', `opt/y/in ${two}`])
})

test('addFolder: refuses or skips by name what cannot be in an image', async () => {
  const source = folder('hostile', { good: 'x', 'sub/also': 'x' })
  execFileSync('mkfifo', [path.join(source, 'pipe')])
  symlinkSync('../../etc/passwd', path.join(source, 'sub/escape'))
  symlinkSync('/etc/passwd', path.join(source, 'absolute'))
  symlinkSync('../good', path.join(source, 'sub/inside'))
  writeFileSync(Buffer.concat([Buffer.from(`${source}/n`), Buffer.from([0xff, 0xfe])]), 'x')
  const server = net.createServer().listen(path.join(source, 'socket'))
  await new Promise((resolve) => server.once('listening', resolve))
  try {
    const skipped: string[] = []
    const tree = new Tree()
    addFolder(tree, { source, target: '', skipped: (what) => skipped.push(what.slice(source.length + 1)) })
    assert.deepEqual(
      tree.entries().map(([name]) => name),
      ['', 'good', 'sub', 'sub/also', 'sub/inside'],
    )
    assert.deepEqual(skipped, [
      'absolute: it is a link that leads out of the folder, to "/etc/passwd"',
      'n\ufffd\ufffd: its name is not UTF-8',
      'pipe: it is a device, socket or pipe',
      'socket: it is a device, socket or pipe',
      'sub/escape: it is a link that leads out of the folder, to "../../etc/passwd"',
    ])
    assert.throws(() => addFolder(new Tree(), { source, target: '' }), {
      code: 'driver_failed',
      message: `Cannot put "${source}/absolute" into an image: it is a link that leads out of the folder, to "/etc/passwd".`,
    })
  } finally {
    server.close()
  }
})

test('addFile: a link, a folder and a missing file are refused, none of them waited for', () => {
  const source = folder('files', { real: 'x' })
  symlinkSync('real', path.join(source, 'link'))
  execFileSync('mkfifo', [path.join(source, 'pipe')])
  for (const [name, message] of [
    ['link', /Cannot read ".*link" for an image: ELOOP/],
    ['absent', /Cannot read ".*absent" for an image: ENOENT/],
    ['pipe', /Cannot put ".*pipe" into an image: it is no file/],
  ] as const)
    assert.throws(() => addFile(new Tree(), path.join(source, name), 'x'), { code: 'driver_failed', message })
  chmodSync(path.join(source, 'real'), 0o4711)
  const tree = new Tree()
  addFile(tree, path.join(source, 'real'), 'x')
  const entry = tree.get('x')
  assert.ok(entry?.type === 'file' && entry.isExecutable, 'of the mode only that it can be run is kept')
  assert.match(tree.manifest(), /file 0755 1 /)
})
