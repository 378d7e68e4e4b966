import { tarEnd, tarFileBytes, tarHeader, tarPadding } from './tar.ts'
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { test } from 'node:test'

const files: readonly (readonly [string, string])[] = [
  ['oci-layout', '{}'],
  [`blobs/sha256/${'0'.repeat(64)}`, 'x'.repeat(512)],
  ['empty', ''],
  ['long', 'y'.repeat(1000)],
]

function tarOf(list: typeof files): Buffer {
  const parts = list.flatMap(([name, text]) => [
    tarHeader(name, text.length),
    Buffer.from(text),
    tarPadding(text.length),
  ])
  return Buffer.concat([...parts, tarEnd])
}

test('tarHeader, tarPadding, tarEnd: what they make is read by tar, with neither owner nor time', () => {
  const tar = tarOf(files)
  const listed = execFileSync('tar', ['--utc', '--full-time', '-tvf', '-'], { input: tar })
    .toString()
    .trim()
    .split('\n')
  assert.deepEqual(
    listed.map((line) => line.split(/\s+/)),
    files.map(([name, text]) => ['-rw-r--r--', '0/0', String(text.length), '1970-01-01', '00:00:00', name]),
  )
  for (const [name, text] of files)
    assert.equal(execFileSync('tar', ['-xOf', '-', name], { input: tar }).toString(), text)
})

test('tarFileBytes: what header, content and padding come to', () => {
  const all = files.reduce((sum, [, text]) => sum + tarFileBytes(text.length), tarEnd.length)
  assert.equal(tarOf(files).length, all)
})
