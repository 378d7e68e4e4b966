import assert from 'node:assert/strict'
import { test } from 'node:test'
import { HeldBytes } from './held-bytes.ts'

test('HeldBytes: a part is over by its own bound or that of the whole, and gives back to both', () => {
  const whole = new HeldBytes({ bytesMax: 100 })
  const part = new HeldBytes({ bytesMax: 50, whole })
  part.add(51)
  assert.deepEqual([part.isOver, whole.isOver, whole.bytes], [true, false, 51])
  part.add(-51)
  whole.add(90)
  part.add(11)
  assert.deepEqual([part.isOver, whole.isOver], [true, true])
  whole.add(-90)
  assert.deepEqual([part.isOver, whole.isOver, whole.bytes], [false, false, 11])
})
