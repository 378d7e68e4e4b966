import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { test } from 'node:test'
import { makeFolder } from './make-folder.ts'

test('makeFolder makes what is missing for this user alone, and takes what is there', (t) => {
  const top = mkdtempSync(path.join(os.tmpdir(), 'hearth-make-'))
  t.after(() => rmSync(top, { recursive: true, force: true }))
  const folder = path.join(top, 'a', 'b c')
  makeFolder(folder)
  makeFolder(folder)
  assert.equal(statSync(folder).mode & 0o777, 0o700)
  const file = path.join(top, 'file')
  writeFileSync(file, '')
  assert.throws(() => makeFolder(file), { message: `${file} is no folder` })
  assert.throws(() => makeFolder(path.join(file, 'x')), /is no folder/)
  assert.throws(() => makeFolder(''), /its name is empty/)
})

test(
  'makeFolder comes back from a file system in which nothing can be made',
  { skip: process.platform !== 'linux' },
  () => {
    assert.throws(() => makeFolder('/proc/hearth/data'), { message: 'nothing can be made in /proc' })
  },
)
