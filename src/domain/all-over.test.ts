import assert from 'node:assert/strict'
import { test } from 'node:test'
import { allOver } from './all-over.ts'

test('allOver: gives what each gives, and rejects when the last is over', async () => {
  assert.deepEqual(await allOver([Promise.resolve(1), Promise.resolve('two')]), [1, 'two'])
  const slow = Promise.withResolvers<void>()
  let isOver = false
  const all = allOver([Promise.reject(new Error('at once')), slow.promise]).finally(() => (isOver = true))
  const refused = assert.rejects(all, { message: 'at once' })
  await new Promise((resolve) => setImmediate(resolve))
  assert.equal(isOver, false)
  slow.resolve()
  await refused
})
