import assert from 'node:assert/strict'
import { readdirSync } from 'node:fs'
import path from 'node:path'
import { afterEach, test } from 'node:test'
import { AgentRig, FakeDriver, settle, versionOf } from '../../test/support/agent-rig.ts'
import { until } from '../../test/support/until.ts'
import { ManualClock } from '../domain/clock.ts'
import type { Version } from '../domain/function.ts'
import type { SnapshotMode } from '../domain/snapshot.ts'
import { machineMib } from './rest-policy.ts'

const [memoryMib, heldMib, freezeAfterMs] = [256, 32, 100]
const rigs: AgentRig[] = []
afterEach(async () => {
  for (const rig of rigs.splice(0)) await rig.close()
})

function rigOf(
  driver: FakeDriver,
  clock: ManualClock,
  options: ConstructorParameters<typeof AgentRig>[2] = {},
): AgentRig {
  const rig: AgentRig = new AgentRig(clock, driver, { vmPoolSize: 0, poolSize: 0, ...options })
  rigs.push(rig)
  return rig
}

const versionFrom = (snapshot: SnapshotMode): Version =>
  versionOf({ isolation: 'auto', snapshot, memoryMib, freezeAfterMs, keepAliveMs: 3_600_000 })

/** What one Instance counts that has run and is frozen. */
async function countedMib(rig: AgentRig): Promise<number> {
  await rig.advance(freezeAfterMs)
  await settle(5)
  const status = await rig.agent.status()
  assert.equal(status.instances.frozen, 1)
  return status.memoryMib - status.freeMib
}

async function ran({
  isVm,
  snapshot,
  hostMib,
}: {
  isVm: boolean
  snapshot: SnapshotMode
  hostMib?: number
}): Promise<AgentRig> {
  const clock = new ManualClock()
  const held = { memoryBytes: heldMib * 2 ** 20, ...(hostMib !== undefined && { hostBytes: hostMib * 2 ** 20 }) }
  const rig = rigOf(new FakeDriver({ clock, isVm, faults: held }), clock)
  await rig.agent.register()
  const version = versionFrom(snapshot)
  await rig.agent.deploy(version)
  assert.equal((await rig.run(version)).result.outcome, 'succeeded')
  return rig
}

test('frozenMib: a process counts what it holds, a clone its VMM and kernel too, and a machine that booted cold all it has', async () => {
  assert.equal(await countedMib(await ran({ isVm: false, snapshot: 'none' })), heldMib)
  assert.equal(await countedMib(await ran({ isVm: true, snapshot: 'runtime' })), heldMib + machineMib)
  assert.equal(await countedMib(await ran({ isVm: true, snapshot: 'none' })), memoryMib)
})

test('frozenMib: a guest that says less than the host counts of its machine counts that, at most all it has', async () => {
  const counted = async (hostMib: number): Promise<number> =>
    countedMib(await ran({ isVm: true, snapshot: 'runtime', hostMib }))
  assert.equal(await counted(60), heldMib + machineMib)
  assert.equal(await counted(150), 150)
  assert.equal(await counted(600), memoryMib)
})

/** An Instance whose second invocation holds `grownMib` from then on. */
async function grown(): Promise<{ rig: AgentRig; version: Version; grownMib: number }> {
  const grownMib = 200
  const clock = new ManualClock()
  const driver = new FakeDriver({
    clock,
    handler: (event, meta) => void (event === 2 && meta.hold({ memory: grownMib * 2 ** 20 })),
    faults: { memoryBytes: heldMib * 2 ** 20 },
  })
  const rig = rigOf(driver, clock)
  await rig.agent.register()
  const version = versionFrom('none')
  await rig.agent.deploy(version)
  for (const event of [1, 2]) await rig.run(version, event)
  return { rig, version, grownMib }
}

test('freeze: a frozen Instance counts what it held at last, however short what ran', async () => {
  const { rig, grownMib } = await grown()
  assert.equal(await countedMib(rig), grownMib)
})

test('freeze: while it is not known what it holds it counts all and runs on; an invocation finds it so', async () => {
  const { rig, version } = await grown()
  rig.driver.faults.hangOnStats = true
  assert.equal(await countedMib(rig), memoryMib)
  const [sandbox] = rig.driver.alive.values()
  assert.equal((await rig.run(version, 3)).result.start, 'warm')
  assert.deepEqual(
    sandbox?.calls.filter((call) => call !== 'stats'),
    ['bind'],
  )
  await rig.advance(freezeAfterMs)
  await rig.advance(1_000)
  assert.equal(sandbox?.calls.at(-1), 'pause')
  const status = await rig.agent.status()
  assert.equal(status.memoryMib - status.freeMib, heldMib)
})

test('frozenMib: a clone that another agent took over is still one', async () => {
  const first = await ran({ isVm: true, snapshot: 'runtime' })
  const instances = path.join(first.folder, 'instances')
  const handles = (): string[] =>
    readdirSync(first.folder, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('handle.json'))
  await until(() => handles().length === 1 || 'no handle', { what: 'the handle' })
  const version = versionFrom('runtime')
  const next = rigOf(first.driver, first.clock, {
    folders: { instances, logs: path.join(first.folder, 'logs'), snapshots: path.join(first.folder, 'snapshots') },
    survivors: { versions: { find: async () => version }, sweep: async () => [] },
  })
  await next.agent.register()
  assert.equal((await next.run(version)).result.start, 'warm')
  assert.equal(await countedMib(next), heldMib + machineMib)
})
