import assert from 'node:assert/strict'
import { test } from 'node:test'
import { idSource } from './ids.ts'

test('idSource: UUIDv7 with the time given, never twice the same', () => {
  const next = idSource()
  const ids = new Set(Array.from({ length: 5_000 }, () => next(1_700_000_000_000)))
  assert.equal(ids.size, 5_000)
  for (const id of ids) {
    assert.match(id, /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
    assert.equal(Number.parseInt(id.replaceAll('-', '').slice(0, 12), 16), 1_700_000_000_000)
  }
})
