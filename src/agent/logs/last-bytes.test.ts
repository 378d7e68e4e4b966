import assert from 'node:assert/strict'
import { test } from 'node:test'
import { lastBytes } from './last-bytes.ts'

test('lastBytes: counts bytes, and cuts where a character begins', () => {
  assert.equal(lastBytes('abc', 3), 'abc')
  assert.equal(lastBytes('abcd', 3), 'bcd')
  assert.equal(lastBytes('\u20ac\u20ac', 5), '\u20ac')
  assert.equal(lastBytes('a\u{1f600}', 4), '\u{1f600}')
  assert.equal(lastBytes('\u{1f600}abc', 4), 'abc')
  assert.equal(lastBytes('\u{1f600}', 3), '')
  const long = lastBytes('\u20ac'.repeat(10_000), 4_096)
  assert.equal(Buffer.byteLength(long), 4_095)
  assert.match(long, /^\u20ac+$/)
})
