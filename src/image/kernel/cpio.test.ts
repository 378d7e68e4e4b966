import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { test } from 'node:test'
import { makeCpio, type CpioEntry } from './cpio.ts'

const files: CpioEntry[] = [
  { type: 'device', path: 'dev/null', major: 1, minor: 3 },
  { type: 'folder', path: 'sysroot' },
  { type: 'file', path: 'init', isExecutable: true, content: Buffer.from('#!/bin/true\n') },
  { type: 'file', path: 'modules/01-virtio.ko', isExecutable: false, content: Buffer.alloc(5, 'm') },
]

test('makeCpio: cpio lists folders before what is in them, modes and sizes', (t) => {
  const listed = spawnSync('cpio', ['-itv', '--quiet', '--numeric-uid-gid'], {
    input: makeCpio(files),
    encoding: 'utf8',
  })
  if (listed.error !== undefined) return t.skip('needs cpio')
  assert.equal(listed.status, 0, listed.stderr)
  const rows = listed.stdout
    .trimEnd()
    .split('\n')
    .map((line) => line.split(/\s+/))
  assert.deepEqual(
    rows.map((row) => [row[0], row[2], row[4], row.at(-1)]),
    [
      ['drwxr-xr-x', '0', '0', 'dev'],
      ['drwxr-xr-x', '0', '0', 'modules'],
      ['drwxr-xr-x', '0', '0', 'sysroot'],
      ['crw-rw-rw-', '0', '1,', 'dev/null'],
      ['-rwxr-xr-x', '0', '12', 'init'],
      ['-rw-r--r--', '0', '5', 'modules/01-virtio.ko'],
    ],
  )
})

test('makeCpio: every part starts at a multiple of 4, and the same files give the same bytes', () => {
  const cpio = makeCpio(files)
  assert.equal(cpio.length % 4, 0)
  for (let at = cpio.indexOf('070701'); at !== -1; at = cpio.indexOf('070701', at + 1)) assert.equal(at % 4, 0)
  assert.ok(cpio.equals(makeCpio(files)))
  assert.ok(cpio.includes('TRAILER!!!'))
})
