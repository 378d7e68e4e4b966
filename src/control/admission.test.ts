import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ManualClock } from '../domain/clock.ts'
import type { Overload, Rejection } from '../domain/control.ts'
import { Admission, type Candidate, type FunctionGate } from './admission.ts'
import { FunctionFigures } from './stats.ts'

interface Probe extends Candidate {
  readonly name: string
}

interface World {
  readonly clock: ManualClock
  readonly admission: Admission
  readonly events: string[]
  readonly rejections: Rejection[]
  /** What those who expired had waited for. */
  readonly waits: (Overload | null)[]
  readonly setQuota: (max: number) => void
  readonly gate: (name: string, concurrency: number) => FunctionGate
  readonly candidate: (name: string, options?: { deadlineMs?: number; priority?: number; bytes?: number }) => Probe
}

function world(first = 1_000): World {
  const clock = new ManualClock()
  let quota = first
  const admission = new Admission({ clock, quotaOf: () => quota })
  const events: string[] = []
  const rejections: Rejection[] = []
  const waits: (Overload | null)[] = []
  return {
    clock,
    admission,
    events,
    rejections,
    waits,
    setQuota(max) {
      quota = max
      admission.quotaChanged('default')
    },
    gate(name, concurrency) {
      const gate = admission.gate({ project: 'default', name }, new FunctionFigures())
      gate.concurrency = concurrency
      return gate
    },
    candidate: (name, { deadlineMs = 60_000, priority = 3, bytes = 10 } = {}) => ({
      name,
      deadline: clock.nowMs() + deadlineMs,
      priority,
      bytes,
      onRun: () => events.push(`run ${name}`),
      onExpired: (heldBy) => {
        events.push(`expired ${name}`)
        waits.push(heldBy)
      },
      onRejected: (rejection) => {
        events.push(`rejected ${name}`)
        rejections.push(rejection)
      },
    }),
  }
}

test('FunctionGate: runs up to its concurrency, then in order of priority and arrival', () => {
  const { gate, candidate, events } = world()
  const f = gate('f', 1)
  f.enter(candidate('a'))
  f.enter(candidate('late', { priority: 5 }))
  f.enter(candidate('b'))
  f.enter(candidate('c'))
  f.enter(candidate('urgent', { priority: 0 }))
  for (let n = 0; n < 5; n++) f.leave()
  assert.deepEqual(events, ['run a', 'run urgent', 'run b', 'run c', 'run late'])
  assert.equal(f.running, 0)
})

test('FunctionGate: what expires while it waits hears which limit it waited for', () => {
  const { clock, gate, candidate, waits, setQuota } = world(2)
  const f = gate('f', 1)
  const g = gate('g', 5)
  f.enter(candidate('f running'))
  f.enter(candidate('f waits', { deadlineMs: 100 }))
  g.enter(candidate('g running'))
  g.enter(candidate('g waits', { deadlineMs: 100 }))
  clock.advance(100)
  assert.deepEqual(waits, [
    { kind: 'own_limit', resource: 'function-concurrency', limit: 1, cause: 'deadline_passed', retryAfterMs: 1_000 },
    { kind: 'own_limit', resource: 'project-concurrency', limit: 2, cause: 'deadline_passed', retryAfterMs: 1_000 },
  ])
  setQuota(10)
  const parked = candidate('parked', { deadlineMs: 100 })
  g.enter(parked)
  g.park(parked)
  clock.advance(100)
  assert.deepEqual(waits.at(-1), {
    kind: 'capacity',
    resource: 'node-memory',
    cause: 'deadline_passed',
    retryAfterMs: 1_000,
  })
  f.enter(candidate('late', { deadlineMs: 0 }))
  assert.equal(waits.at(-1), null)
})

test('FunctionGate: what waits past its deadline is expired at that moment, not when a slot frees', () => {
  const { gate, candidate, events, clock } = world()
  const f = gate('f', 1)
  f.enter(candidate('a'))
  f.enter(candidate('b', { deadlineMs: 500 }))
  f.enter(candidate('c', { deadlineMs: 200 }))
  clock.advance(199)
  assert.deepEqual(events, ['run a'])
  clock.advance(1)
  assert.deepEqual(events, ['run a', 'expired c'])
  clock.advance(400)
  assert.deepEqual(events, ['run a', 'expired c', 'expired b'])
  f.leave()
  assert.equal(f.waiting, 0)
})

test('FunctionGate: a full queue refuses at once, with a time from the measured service', () => {
  const { gate, candidate, events, rejections } = world()
  const f = gate('f', 2)
  for (let n = 0; n < 102; n++) f.enter(candidate(`${n}`))
  f.figures.ended('succeeded', 3_000, null)
  f.enter(candidate('x'))
  assert.equal(events.at(-1), 'rejected x')
  assert.deepEqual(rejections, [
    { kind: 'own_limit', resource: 'function-concurrency', limit: 2, cause: 'queue_full', retryAfterMs: 60_000 },
  ])
})

test('FunctionGate: waiting bodies are bounded in bytes', () => {
  const { gate, candidate, events } = world()
  const f = gate('f', 1)
  f.enter(candidate('a'))
  for (let n = 0; n < 12; n++) f.enter(candidate(`${n}`, { bytes: 6 * 1024 * 1024 }))
  assert.deepEqual(events, ['run a', 'rejected 10', 'rejected 11'])
})

test('FunctionGate: what the node refused waits at the head until the node changes, or half a second', () => {
  const { gate, candidate, events, clock, admission, rejections } = world()
  const f = gate('f', 1)
  const a = candidate('a')
  f.enter(a)
  f.park(a)
  f.enter(candidate('b'))
  assert.deepEqual(events, ['run a'])
  admission.nodeChanged()
  assert.deepEqual(events, ['run a', 'run a'])
  f.park(a)
  clock.advance(500)
  assert.deepEqual(events, ['run a', 'run a', 'run a'])
  f.park(a)
  for (let n = 0; n < 99; n++) f.enter(candidate(`${n}`))
  assert.equal(rejections[0]?.kind, 'capacity')
})

test('FunctionGate: withdraw takes a waiting candidate out, and no other', () => {
  const { gate, candidate, events } = world()
  const f = gate('f', 1)
  const [a, b, c] = [candidate('a'), candidate('b'), candidate('c')]
  for (const each of [a, b, c]) f.enter(each)
  assert.equal(f.withdraw(b), true)
  assert.equal(f.withdraw(b), false)
  f.leave()
  assert.deepEqual(events, ['run a', 'run c'])
})

test('Admission: functions of one project share its quota, and a freed slot goes to whichever waits', () => {
  const { gate, candidate, events } = world(2)
  const f = gate('f', 10)
  const g = gate('g', 10)
  f.enter(candidate('f1'))
  f.enter(candidate('f2'))
  g.enter(candidate('g1'))
  assert.deepEqual(events, ['run f1', 'run f2'])
  f.leave()
  assert.deepEqual(events, ['run f1', 'run f2', 'run g1'])
})

test('Admission.quotaChanged: who waits runs at once with a higher quota, and nobody more until a lower one is met', () => {
  const { gate, candidate, events, admission, setQuota } = world(1)
  const f = gate('f', 10)
  const g = gate('g', 10)
  for (const name of ['f1', 'f2', 'f3']) f.enter(candidate(name))
  g.enter(candidate('g1'))
  setQuota(3)
  assert.deepEqual(events, ['run f1', 'run f2', 'run f3'])
  assert.deepEqual(admission.usageOf('default'), { running: 3, queued: 1 })
  setQuota(1)
  f.leave()
  f.leave()
  assert.deepEqual(admission.usageOf('default'), { running: 1, queued: 1 })
  f.leave()
  assert.equal(events.at(-1), 'run g1')
})

test("FunctionGate: a queue that is full because the project's quota is used up says so, with the quota", () => {
  const { gate, candidate, rejections } = world(2)
  const f = gate('f', 10)
  for (let n = 0; n < 203; n++) f.enter(candidate(`${n}`))
  assert.partialDeepStrictEqual(rejections[0], {
    kind: 'own_limit',
    resource: 'project-concurrency',
    limit: 2,
    cause: 'queue_full',
  })
})

test('Admission: of a deleted function nobody waits any more, and who comes late is told; a new one of its name begins anew', () => {
  const { gate, candidate, events, rejections, admission } = world()
  const old = gate('f', 1)
  for (const name of ['a', 'b', 'c']) old.enter(candidate(name))
  admission.remove({ project: 'default', name: 'f' })
  old.enter(candidate('late'))
  old.leave()
  assert.deepEqual(events, ['run a', 'rejected b', 'rejected c', 'rejected late'])
  assert.deepEqual([...new Set(rejections.map(({ kind }) => kind))], ['gone'])
  assert.deepEqual([old.running, old.waiting, old.waitingBytes], [0, 0, 0])
  gate('f', 1).enter(candidate('new'))
  assert.equal(events.at(-1), 'run new')
})

test('FunctionGate: what the node refuses of a deleted function does not wait', () => {
  const { gate, candidate, events, admission } = world()
  const old = gate('f', 1)
  const a = candidate('a')
  old.enter(a)
  admission.remove({ project: 'default', name: 'f' })
  old.park(a)
  assert.deepEqual(events, ['run a', 'rejected a'])
  assert.equal(old.running, 0)
})
