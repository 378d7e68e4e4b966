import assert from 'node:assert/strict'
import { availableParallelism } from 'node:os'
import { test } from 'node:test'
import { Demand } from './demand.ts'

const many = Math.max(2, availableParallelism())

test('servedSoon: nothing is known of a Version that served nobody', () => {
  assert.equal(new Demand().servedSoon(many, 0), 0)
})

test('servedSoon: quick handlers are worth waiting for, slow ones are not', () => {
  const quick = new Demand()
  quick.served(0.1, 100)
  assert.equal(quick.servedSoon(many, 100), many * 50)
  const slow = new Demand()
  slow.served(500, 100)
  assert.equal(slow.servedSoon(many, 100), 0)
})

test('servedSoon: fewer Instances than processors is too few to wait for', () => {
  const demand = new Demand()
  demand.served(0.1, 100)
  assert.equal(demand.servedSoon(1, 100), 0)
})

test('servedSoon: a guess that does not come true stops counting', () => {
  const demand = new Demand()
  demand.served(0.1, 100)
  assert.equal(demand.servedSoon(many, 100 + Demand.recheckMs + 1), 0)
})
