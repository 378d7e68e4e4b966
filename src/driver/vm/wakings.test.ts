import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Wakings } from './wakings.ts'

test('Wakings: a machine that does not answer holds up those behind it for 1.5 s at most', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  const wakings = new Wakings(1)
  const endFirst = await wakings.turn()
  let turns = 0
  const second = wakings.turn().then((end) => (turns++, end))
  t.mock.timers.tick(1_499)
  await Promise.resolve()
  assert.equal(turns, 0)
  t.mock.timers.tick(1)
  const endSecond = await second
  const third = wakings.turn().then((end) => (turns++, end))
  // Its turn was over: it gives nobody else's away.
  endFirst()
  await Promise.resolve()
  assert.equal(turns, 1)
  endSecond()
  const endThird = await third
  endThird()
})

test('Wakings: a turn that comes when nobody wants it any more goes to the next', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  const wakings = new Wakings(1)
  const end = await wakings.turn()
  const stop = new AbortController()
  const calledOff = wakings.turn(stop.signal)
  const next = wakings.turn()
  stop.abort(new Error('the platform is ending'))
  end()
  await assert.rejects(calledOff, /the platform is ending/)
  const endNext = await next
  endNext()
})
