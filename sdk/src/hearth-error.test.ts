import assert from 'node:assert/strict'
import { test } from 'node:test'
import { statusOf } from './hearth-error.ts'

test('statusOf: what only a newer platform knows is a failure of its own', () => {
  assert.equal(statusOf('capacity'), 503)
  assert.equal(statusOf('of_tomorrow'), 500)
})
