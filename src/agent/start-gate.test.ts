import assert from 'node:assert/strict'
import { afterEach, test } from 'node:test'
import { AgentRig, settle, versionOf } from '../../test/support/agent-rig.ts'
import { ManualClock } from '../domain/clock.ts'
import { StartGate, startsMax, type Pass } from './start-gate.ts'

const rigs: AgentRig[] = []
afterEach(async () => {
  for (const rig of rigs.splice(0)) await rig.close()
})

/** A gate for `max` starts that notes whose turn came. */
function gateOf(max: number) {
  const clock = new ManualClock()
  const gate = new StartGate({ max, clock })
  const begun: string[] = []
  const group = (name: string, { live = 0, dueMs = Infinity } = {}) => {
    const own = { live: { size: live }, dueMs }
    const enter = (): Pass => gate.enter({ group: own, begin: () => void begun.push(name) })
    return { own, enter }
  }
  return { clock, begun, group }
}

test('StartGate: so many begin at once, the others one by one as those leave', () => {
  const { begun, group } = gateOf(2)
  const [a, b, c] = [group('a'), group('b'), group('c')].map(({ enter }) => enter())
  assert.deepEqual(begun, ['a', 'b'])
  b?.leave()
  assert.deepEqual(begun, ['a', 'b', 'c'])
  for (const pass of [a, b, c]) pass?.leave()
})

test('StartGate: leaving twice makes room once', () => {
  const { begun, group } = gateOf(1)
  const { enter } = group('a')
  const first = enter()
  enter()
  enter()
  first.leave()
  first.leave()
  assert.deepEqual(begun, ['a', 'a'])
})

test('StartGate: who withdraws never has a turn', () => {
  const { begun, group } = gateOf(1)
  const first = group('a').enter()
  group('b').enter().leave()
  group('c').enter()
  first.leave()
  assert.deepEqual(begun, ['a', 'c'])
})

test('StartGate: a group with nothing goes before those that have an Instance or are starting one', () => {
  const { begun, group } = gateOf(2)
  const [busy, rich, poor] = [group('busy'), group('rich', { live: 1 }), group('poor')]
  const passes = [busy.enter(), busy.enter()]
  for (let n = 0; n < 3; n++) busy.enter()
  rich.enter()
  poor.enter()
  passes[0]?.leave()
  assert.deepEqual(begun.slice(2), ['poor'])
  passes[1]?.leave()
  assert.deepEqual(begun.slice(2), ['poor', 'busy'], 'it has nothing now, the other has an Instance')
})

test('StartGate: among equals the one with least time left', () => {
  const { begun, group } = gateOf(1)
  const first = group('first').enter()
  group('late', { dueMs: 2_000 }).enter()
  group('soon', { dueMs: 1_000 }).enter()
  first.leave()
  assert.deepEqual(begun, ['first', 'soon'])
})

test('StartGate: a start that hangs holds the others up for half a second', () => {
  const { clock, begun, group } = gateOf(1)
  const hung = group('hung').enter()
  group('next').enter()
  clock.advance(499)
  assert.deepEqual(begun, ['hung'])
  clock.advance(1)
  assert.deepEqual(begun, ['hung', 'next'])
  // Its end makes no room again: it had left it.
  group('third').enter()
  hung.leave()
  assert.deepEqual(begun, ['hung', 'next'])
})

test('StartGate: of many cold functions each gets an Instance before any gets a second', async () => {
  const rig = AgentRig.fake({ faults: { bootMs: 5, loadMs: 20 } }, { poolSize: 0 })
  rigs.push(rig)
  await rig.agent.register()
  const versions = Array.from({ length: startsMax + 2 }, (_, n) => versionOf({}, { functionName: `fn-${n}` }))
  const running = versions.flatMap((version) => [rig.begin(version), rig.begin(version), rig.begin(version)])
  await settle()
  assert.equal(rig.driver.boots, startsMax)
  for (let n = 0; n < 20; n++) await rig.advance(10)
  const all = await Promise.all(running.map(({ done }) => done))
  assert.ok(all.every(({ result }) => result.outcome === 'succeeded'))
  assert.ok(rig.driver.boots < running.length, 'the first of each served the others')
  const waited = all.flatMap(({ result }) => result.phases.filter(({ phase }) => phase === 'place'))
  assert.ok(waited.length > 0, 'the receipt names the wait')
  assert.ok(waited.every(({ durationMs }) => durationMs >= 1))
})
