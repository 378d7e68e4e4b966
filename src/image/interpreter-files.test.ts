import assert from 'node:assert/strict'
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { after, test } from 'node:test'
import type { RuntimeBuild } from '../domain/runtime.ts'
import { addInterpreter } from './interpreter-files.ts'
import { Tree } from './tree.ts'

const scratch = mkdtempSync(path.join(os.tmpdir(), 'hearth-interpreter-'))
after(() => rmSync(scratch, { recursive: true, force: true }))

const digest = `sha256:${'3'.repeat(64)}` as const

/** A Python's folder with what belongs into an image, and what does not. */
function fakePython(): RuntimeBuild {
  const prefix = path.join(scratch, 'python')
  const library = path.join(prefix, 'lib/python3.12')
  const files = [
    ...['os.py', 'json/__init__.py', 'unittest/case.py', 'lib-dynload/_ssl.cpython-312.so', 'xml/dom/x.py'],
    ...['test/test_os.py', 'unittest/tests/t.py', 'idlelib/idle.py', 'tkinter/__init__.py', 'ensurepip/x.whl'],
    ...['site-packages/pip/__init__.py', 'config-3.12-x86_64-linux-gnu/libpython.a', '__pycache__/os.cpython-312.pyc'],
    ...['lib-dynload/_testcapi.cpython-312.so', 'lib-dynload/_tkinter.cpython-312.so', 'lib-dynload/xxlimited.so'],
  ]
  for (const file of files) {
    mkdirSync(path.dirname(path.join(library, file)), { recursive: true })
    writeFileSync(path.join(library, file), file)
  }
  for (const folder of ['bin', 'include/python3.12', 'share/man'])
    mkdirSync(path.join(prefix, folder), { recursive: true })
  copyFileSync('/bin/true', path.join(prefix, 'bin/python3.12'))
  symlinkSync('python3.12', path.join(prefix, 'bin/python3'))
  symlinkSync('/bin/true', path.join(prefix, 'bin/python'))
  writeFileSync(path.join(prefix, 'bin/pip3'), '#!/bin/false')
  symlinkSync('/etc/shadow', path.join(library, 'leak.py'))
  return {
    id: 'python3.12',
    family: 'python',
    version: '3.12.9',
    executable: path.join(prefix, 'bin/python3.12'),
    prefix,
    digest,
    image: digest,
    isBridged: false,
  }
}

test('addInterpreter: of a Python what runs, at /runtime where its own path belongs to the machine', () => {
  const build = fakePython()
  const tree = new Tree()
  const skipped: string[] = []
  const { runtime, placeOf } = addInterpreter(tree, build, (what) => skipped.push(what))
  assert.deepEqual([runtime.executable, runtime.prefix], ['/runtime/bin/python3.12', '/runtime'])
  assert.equal(placeOf(path.join(build.prefix, 'lib/libpython3.12.so.1.0')), 'runtime/lib/libpython3.12.so.1.0')
  assert.equal(placeOf('/usr/local/lib/libx.so'), 'usr/local/lib/libx.so')
  assert.equal(placeOf('/opt/openssl/lib/libssl.so.3'), null)
  const files = tree
    .entries()
    .flatMap(([name, entry]) => (entry.type === 'folder' ? [] : [name.slice('runtime/'.length)]))
  assert.deepEqual(files, [
    'bin/python3',
    'bin/python3.12',
    'lib/python3.12/json/__init__.py',
    'lib/python3.12/lib-dynload/_ssl.cpython-312.so',
    'lib/python3.12/os.py',
    'lib/python3.12/unittest/case.py',
    'lib/python3.12/xml/dom/x.py',
  ])
  assert.match(
    String(skipped),
    /lib\/python3\.12\/leak\.py: it is a link that leads out of the folder, to "\/etc\/shadow"$/,
  )
})

test('addInterpreter: Node is one program at one path, wherever it lies', () => {
  const tree = new Tree()
  const prefix = path.dirname(path.dirname(process.execPath))
  const build: RuntimeBuild = {
    id: 'node26',
    family: 'node',
    version: '26.1.0',
    executable: process.execPath,
    prefix,
    digest,
    image: digest,
    isBridged: false,
  }
  const { runtime } = addInterpreter(tree, build, () => assert.fail())
  assert.deepEqual(runtime, { ...build, executable: '/usr/local/bin/node', prefix: '' })
  assert.deepEqual(
    tree
      .entries()
      .filter(([, { type }]) => type !== 'folder')
      .map(([name]) => name),
    ['usr/local/bin/node'],
  )
})
