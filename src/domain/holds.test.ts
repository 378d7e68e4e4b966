import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Holds } from './holds.ts'

test('Holds: a key is held until the last lets it go, who fails too, and is told of once', async () => {
  const freed: string[] = []
  const holds = new Holds<string>((key) => freed.push(key))
  const gate = Promise.withResolvers<void>()
  const during = holds.during(['a', 'b'], async () => gate.promise)
  holds.hold('a')
  holds.hold('c')
  assert.deepEqual(
    ['a', 'b', 'c', 'd'].map((key) => holds.has(key)),
    [true, true, true, false],
  )
  gate.reject(new Error('no luck'))
  await assert.rejects(during, /no luck/)
  assert.deepEqual([freed, holds.has('a'), holds.has('b')], [['b'], true, false])
  holds.letGo('a')
  holds.letGo('c')
  assert.deepEqual([freed, holds.has('a')], [['b', 'a', 'c'], false])
  assert.equal(await holds.during(['a', 'a'], async () => 'done'), 'done')
  assert.deepEqual(freed, ['b', 'a', 'c', 'a'])
})
