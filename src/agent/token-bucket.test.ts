import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ManualClock } from '../domain/clock.ts'
import { TokenBucket } from './token-bucket.ts'

test('TokenBucket: one second of it at once, then as it comes; what is refused takes nothing', () => {
  const clock = new ManualClock()
  const bucket = new TokenBucket(clock, 100)
  assert.equal(bucket.take(101), false)
  assert.equal(bucket.take(100), true)
  assert.equal(bucket.take(1), false)
  clock.advance(100)
  assert.equal(bucket.take(11), false)
  assert.equal(bucket.take(10), true)
  clock.advance(60_000)
  assert.equal(bucket.take(101), false)
  assert.equal(bucket.take(100), true)
})
