import assert from 'node:assert/strict'
import { test } from 'node:test'
import { statusOfCode as statusOfPlatform } from '../../src/http/errors.ts'
import { statusOf, statusOfCode } from './hearth-error.ts'

test("statusOfCode is the platform's own table", () => {
  assert.deepEqual(statusOfCode, statusOfPlatform)
})

test('statusOf: what only a newer platform knows is a failure of its own', () => {
  assert.equal(statusOf('capacity'), 503)
  assert.equal(statusOf('of_tomorrow'), 500)
})
