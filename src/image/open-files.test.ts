import assert from 'node:assert/strict'
import { closeSync, linkSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { test } from 'node:test'
import { openFiles } from './open-files.ts'

test('openFiles: those that a process holds, by whatever name', (t) => {
  if (process.platform !== 'linux') return t.skip('needs /proc')
  const folder = mkdtempSync(path.join(os.tmpdir(), 'hearth-open-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const [held, other, absent] = ['held', 'other', 'absent'].map((name) => path.join(folder, name))
  assert.ok(held !== undefined && other !== undefined && absent !== undefined)
  for (const file of [held, other]) writeFileSync(file, file)
  linkSync(held, path.join(folder, 'alias'))
  const fd = openSync(path.join(folder, 'alias'), 'r')
  assert.deepEqual([...openFiles([held, other, absent])], [held])
  closeSync(fd)
  assert.deepEqual([...openFiles([held, other, absent])], [])
})
