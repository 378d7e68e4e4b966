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
  quick.served(0.1, 100, 1)
  assert.equal(quick.servedSoon(many, 100), many * 50)
  const slow = new Demand()
  slow.served(500, 100, 1)
  assert.equal(slow.servedSoon(many, 100), 0)
})

test('servedSoon: fewer Instances than processors is too few to wait for', () => {
  const demand = new Demand()
  demand.served(0.1, 100, 1)
  assert.equal(demand.servedSoon(1, 100), 0)
})

test('servedSoon: a guess that does not come true stops counting', () => {
  const demand = new Demand()
  demand.served(0.1, 100, 1)
  assert.equal(demand.servedSoon(many, 100 + Demand.recheckMs + 1), 0)
})

test('isEnough: a quick handler waits for one of as many busy Instances as there are processors', () => {
  const demand = new Demand()
  assert.equal(demand.isEnough(many), false)
  demand.served(0.1, 100, many)
  assert.equal(demand.isEnough(many), true)
  assert.equal(demand.isEnough(many - 1), false)
})

test('isEnough: durations among more busy Instances than processors say nothing of the handler', () => {
  const demand = new Demand()
  demand.served(0.1, 100, many + 1)
  assert.equal(demand.isEnough(many), false)
  demand.served(0.1, 100, 1)
  for (let n = 0; n < 100; n++) demand.served(20, 100, many + 1)
  assert.equal(demand.isEnough(many), true)
})

test('isEnough: a handler that stops being quick gets its Instances back', () => {
  const demand = new Demand()
  demand.served(0.1, 100, 1)
  for (let n = 0; n < 20; n++) demand.served(0.8, 100, many)
  assert.equal(demand.isEnough(many), true)
  for (let n = 0; n < 20; n++) demand.served(1.5, 100, many)
  assert.equal(demand.isEnough(many), false)
  for (let n = 0; n < 20; n++) demand.served(0.8, 100, many)
  assert.equal(demand.isEnough(many), false)
})
