import assert from 'node:assert/strict'
import { afterEach, test } from 'node:test'
import { AgentRig, settle, versionOf, type FakeDriverOptions, type Ran } from '../../test/support/agent-rig.ts'
import type { Version } from '../domain/function.ts'
import type { LocalAgentOptions } from './local-agent-options.ts'
import { spareMib } from './spares.ts'

const rigs: AgentRig[] = []
afterEach(async () => {
  for (const rig of rigs.splice(0)) await rig.close()
})

/** A rig with `version` deployed and its VMMs started ahead. */
async function machines(
  version: Version,
  options: FakeDriverOptions = {},
  agent: Partial<LocalAgentOptions> = {},
): Promise<AgentRig> {
  const rig = AgentRig.fake({ isVm: true, ...options }, { vmPoolSize: 0, vmPrespawn: 1, ...agent })
  rigs.push(rig)
  await rig.agent.register()
  await over(rig, rig.agent.deploy(version))
  await refilled(rig)
  return rig
}

/** Lets what is under way come to its end. */
async function over<T>(rig: AgentRig, work: Promise<T>): Promise<T> {
  const state = { isOver: false }
  const end = (): void => void (state.isOver = true)
  work.then(end, end)
  for (let ms = 0; !state.isOver; ms++) {
    assert.ok(ms < 5_000, 'it does not come to an end')
    await rig.advance(1)
  }
  return work
}

async function refilled(rig: AgentRig): Promise<void> {
  for (let n = 0; n < 10; n++) await rig.advance(150)
}

const sourcesOf = ({ result }: Ran): string[] => result.phases.map(({ phase, source }) => `${phase} ${source}`)

const vm = versionOf({ isolation: 'vm', reuse: 'never' })
const own = versionOf({ isolation: 'vm', reuse: 'never', snapshot: 'function' })

test('Spares: a start takes the VMM that waits, says so in its phases, and another is started after it', async () => {
  const rig = await machines(vm, { faults: { restoreMs: 100, spareRestoreMs: 40 } })
  const [id] = rig.driver.waiting.keys()
  const running = rig.begin(vm)
  await rig.advance(40)
  const ran = await running.done
  assert.equal(ran.result.outcome, 'succeeded')
  assert.equal(ran.result.start, 'snapshot')
  assert.deepEqual([ran.result.attempt?.instance, ran.result.attempt?.snapshot], [id, 'runtime'])
  assert.deepEqual(sourcesOf(ran).slice(0, 3), ['sandbox pool', 'restore snapshot', 'network none'])
  assert.equal(rig.driver.waiting.size, 0)
  await refilled(rig)
  assert.equal(rig.driver.waiting.size, 1)
})

test('Spares: without one a start is restored as before, and none is started beside it', async () => {
  const rig = await machines(vm, { faults: { restoreMs: 100 } }, { vmPrespawn: 1 })
  const [one, two] = [rig.begin(vm), rig.begin(vm)]
  await rig.advance(99)
  assert.equal(rig.driver.waiting.size, 0)
  await rig.advance(1)
  const firsts = (await Promise.all([one.done, two.done])).map((ran) => sourcesOf(ran)[0])
  assert.deepEqual(new Set(firsts), new Set(['restore snapshot', 'sandbox pool']))
})

test('Spares: size 0 starts none', async () => {
  const rig = await machines(vm, {}, { vmPrespawn: 0 })
  assert.equal(rig.driver.waiting.size, 0)
  assert.equal((await over(rig, rig.run(vm))).result.outcome, 'succeeded')
})

test('Spares: function and runtime snapshot have their own', async () => {
  const rig = await machines(own)
  assert.equal(new Set([...rig.driver.waiting.values()].map(({ snapshotId }) => snapshotId)).size, 2)
  const { result } = await over(rig, rig.run(own))
  assert.equal(result.attempt?.snapshot, 'function')
  assert.equal(rig.driver.waiting.size, 1, 'that of the runtime still waits')
})

test('Spares: one that died while it waited is replaced, and its memory is free', async () => {
  const rig = await machines(vm)
  const freeMib = (await rig.agent.status()).freeMib
  assert.equal(freeMib, 8192 - spareMib)
  const [dead] = rig.driver.waiting.values()
  await dead?.kill()
  await settle()
  assert.equal((await rig.agent.status()).freeMib, 8192)
  await refilled(rig)
  const [fresh] = rig.driver.waiting.values()
  assert.ok(fresh !== undefined && fresh !== dead)
  assert.equal((await rig.agent.status()).freeMib, freeMib)
})

test('Spares: a restore that fails is tried without one before the snapshot is given up', async () => {
  const rig = await machines(vm)
  rig.driver.faults.failRestore = { times: 1 }
  const { result } = await over(rig, rig.run(vm))
  assert.deepEqual([result.outcome, result.attempt?.snapshot], ['succeeded', 'runtime'])
  assert.equal(rig.driver.waiting.size, 0, 'the one that failed is gone')
})

test('Spares: those of a snapshot that serves no more are ended', async () => {
  const rig = await machines(vm, {}, { vmPrespawn: 2 })
  const before = [...rig.driver.waiting.values()]
  assert.equal(before.length, 2)
  rig.driver.faults.failRestore = { times: 2 }
  assert.match((await over(rig, rig.run(vm))).result.attempt?.snapshot ?? '', /^refused/)
  assert.ok(before.every(({ isAlive }) => !isAlive))
})

test('Spares: nobody needed them for ten minutes: they go, and come back with the next start', async () => {
  const rig = await machines(vm)
  await rig.advance(599_000)
  assert.equal(rig.driver.waiting.size, 0)
  assert.equal((await rig.agent.status()).freeMib, 8192)
  await over(rig, rig.run(vm))
  await refilled(rig)
  assert.equal(rig.driver.waiting.size, 1)
})

test('Spares: a start that needs their memory gets it', async () => {
  const large = versionOf({ isolation: 'vm', memoryMib: 2048 }, { functionName: 'large' })
  const rig = await machines(vm, {}, { memoryMib: 2048 + spareMib - 1 })
  assert.equal(rig.driver.waiting.size, 1)
  const { result } = await over(rig, rig.run(large))
  assert.equal(result.outcome, 'succeeded')
})

test('Spares: all together hold an eighth of the memory, those needed last', async () => {
  const small = versionOf({ ...own.config, memoryMib: 128 })
  const rig = await machines(small, {}, { memoryMib: 12 * spareMib })
  assert.equal(rig.driver.waiting.size, 1)
  const [held] = rig.driver.waiting.values()
  assert.equal((await over(rig, rig.run(small))).result.attempt?.snapshot, 'function')
  assert.equal(held?.isUsed, true, 'the function came last')
})

test('Spares: a VMM that cannot be started is tried again later and later', async () => {
  const faults = { failPrespawn: { times: 3 } }
  const rig = await machines(vm, { faults })
  assert.deepEqual([faults.failPrespawn.times, rig.driver.waiting.size], [1, 0], 'at once and after a second')
  for (let n = 0; n < 5; n++) await refilled(rig)
  assert.equal(rig.driver.waiting.size, 1)
})

test('Spares: closing the agent ends them', async () => {
  const rig = await machines(vm)
  const [waiting] = rig.driver.waiting.values()
  await rig.close()
  rigs.length = 0
  assert.equal(waiting?.isAlive, false)
})

test('Pools: clones of a function snapshot are kept paused where that is asked for, while it is in demand', async () => {
  const rig = await machines(own, {}, { vmPrespawn: 0, vmFunctionPoolSize: 1 })
  assert.equal(rig.driver.waiting.size, 0)
  assert.equal((await rig.agent.status()).instances.booted, 1)
  const { result } = await over(rig, rig.run(own))
  assert.deepEqual([result.start, result.attempt?.snapshot], ['pool', 'function'])
  await refilled(rig)
  assert.equal((await rig.agent.status()).instances.booted, 1)
  await rig.advance(600_000)
  assert.equal((await rig.agent.status()).instances.booted, 0)
})
