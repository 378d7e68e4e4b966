import assert from 'node:assert/strict'
import { test } from 'node:test'
import { byBytes } from './by-bytes.ts'

test('byBytes: orders as the bytes of UTF-8 do, also where UTF-16 says otherwise', () => {
  const names = ['', 'a', 'a-b', 'a/b', 'a0', 'b', '\u00e9', '\u4e2d', '\uff5e', '\u{1f600}'] // The last two stand the other way round as UTF-16.
  for (const a of names)
    for (const b of names)
      assert.equal(Math.sign(byBytes(a, b)), Buffer.compare(Buffer.from(a), Buffer.from(b)), `${a} ${b}`)
})
