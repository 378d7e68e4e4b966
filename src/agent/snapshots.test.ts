import assert from 'node:assert/strict'
import { mkdirSync, readdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { afterEach, test } from 'node:test'
import {
  AgentRig,
  catalogOf,
  fakeBuild,
  settle,
  versionOf,
  type FakeDriverOptions,
} from '../../test/support/agent-rig.ts'
import { until } from '../../test/support/until.ts'
import type { AttemptRecord } from '../domain/invocation.ts'
import type { Version } from '../domain/function.ts'

const rigs: AgentRig[] = []
afterEach(async () => {
  for (const rig of rigs.splice(0)) await rig.close()
})

function machines(options: FakeDriverOptions = {}, snapshots?: string, runtimes = catalogOf(fakeBuild)): AgentRig {
  const folders = (of: string) => ({ instances: `${of}/instances`, logs: `${of}/logs`, snapshots: `${of}/snapshots` })
  const rig = AgentRig.fake(
    { isVm: true, ...options },
    { runtimes, vmPoolSize: 0, ...(snapshots !== undefined && { folders: folders(snapshots) }) },
  )
  rigs.push(rig)
  return rig
}

async function deployed(rig: AgentRig, version: Version): Promise<string[]> {
  const lines: string[] = []
  await settled(rig.agent.deploy(version, { report: (line) => lines.push(line) }))
  return lines
}

async function attemptOf(rig: AgentRig, version: Version): Promise<AttemptRecord> {
  const { result } = await settled(rig.begin(version, { n: 1 }).done)
  assert.equal(result.outcome, 'succeeded')
  assert.ok(result.attempt)
  return result.attempt
}

/** Lets the rig run until `work` is over. */
async function settled<T>(work: Promise<T>): Promise<T> {
  const state = { isOver: false }
  const over = (): void => void (state.isOver = true)
  work.then(over, over)
  while (!state.isOver) await settle(1)
  return work
}

const vm = versionOf({ isolation: 'vm', reuse: 'never' })

test('Snapshots: a deploy makes the runtime snapshot once, and starts are restored from it', async () => {
  const rig = machines()
  await rig.agent.register()
  assert.deepEqual((await deployed(rig, vm)).at(-1), 'Snapshot of the runtime: 1 MiB.')
  const { boots, restores } = rig.driver
  const attempt = await attemptOf(rig, vm)
  assert.deepEqual([attempt.driver, attempt.vmm, attempt.snapshot], ['fake', 'fake 1 (kvm)', 'runtime'])
  assert.equal(rig.driver.boots, boots, 'nothing was booted for it')
  assert.ok(rig.driver.restores > restores)
  assert.equal(readdirSync(path.join(rig.folder, 'snapshots')).length, 1)
})

test('Snapshots: clones that share randomness fail the deploy with the reason, and nothing is kept', async () => {
  const rig = machines({ faults: { clonesShare: 'randomBytes' } })
  await rig.agent.register()
  await assert.rejects(deployed(rig, vm), {
    code: 'guest_failed',
    message: 'The runtime snapshot must not serve: two clones drew the same randomBytes.',
  })
  assert.deepEqual(readdirSync(path.join(rig.folder, 'snapshots')), [])
})

test('Snapshots: clones that leave out what is compared, share integers drawn ahead, or have not their own secret fail the deploy', async () => {
  for (const [faults, why] of [
    [{ clonesShare: 'randomInt' }, 'two clones drew the same randomInt'],
    [{ clonesOmit: 'mathRandom' }, 'a clone did not draw mathRandom'],
    [{ clonesShare: 'env' }, 'a clone does not have the secret that it was given'],
  ] as const) {
    const rig = machines({ faults })
    await rig.agent.register()
    await assert.rejects(deployed(rig, vm), { message: `The runtime snapshot must not serve: ${why}.` })
  }
})

test('Snapshots: a runtime that never becomes quiet fails the deploy in time, and nothing is kept', async () => {
  const rig = machines({ faults: { hangOnSnapshot: true } })
  await rig.agent.register()
  const deploying = deployed(rig, vm)
  const refused = assert.rejects(deploying, {
    code: 'guest_failed',
    message: /^Cannot take a snapshot: the runtime did not become quiet \(.*hook.*\) within 60000 ms\.$/,
  })
  await settle(20)
  await rig.advance(60_000)
  await refused
  assert.equal(rig.driver.alive.size, 0)
  assert.deepEqual(readdirSync(path.join(rig.folder, 'snapshots')), [])
})

test('Snapshots: a clock that is off fails the deploy', async () => {
  const rig = machines({ faults: { clockSkewMs: -4_000 } })
  await rig.agent.register()
  await assert.rejects(deployed(rig, vm), /a clone's clock is 4000 ms off, at most 50 are allowed/)
})

test('Snapshots: a machine that cannot be saved costs speed only', async () => {
  const rig = machines({ faults: { failSnapshot: 'migrate' } })
  await rig.agent.register()
  const lines = await deployed(rig, vm)
  assert.match(lines.at(-1) ?? '', /No snapshot of the runtime, starts will be slower: .*"migrate" failed/)
  assert.match((await attemptOf(rig, vm)).snapshot ?? '', /^refused: Cannot save the machine/)
})

test('Snapshots: a machine that never comes to the end of saving itself is ended in time, and costs speed only', async () => {
  const rig = machines({ faults: { hangOnSave: true } })
  await rig.agent.register()
  const deploying = deployed(rig, vm)
  await settle(20)
  await rig.advance(120_000)
  const lines = await deploying
  assert.match(lines.at(-1) ?? '', /Cannot take a snapshot: the machine did not save itself within 120000 ms/)
  assert.equal(rig.driver.alive.size, 0)
  assert.deepEqual(readdirSync(path.join(rig.folder, 'snapshots')), [])
})

test('Snapshots: a restore that fails takes the next rung and says so', async () => {
  const rig = machines()
  await rig.agent.register()
  await deployed(rig, vm)
  rig.driver.faults.failRestore = { times: 1 }
  assert.match((await attemptOf(rig, vm)).snapshot ?? '', /^refused: .*Cannot restore instance/)
  assert.deepEqual(readdirSync(path.join(rig.folder, 'snapshots')), [], 'it is not tried again')
})

test('Snapshots: a node without room for one more machine loses no snapshot for it', async () => {
  const rig = machines()
  await rig.agent.register()
  await deployed(rig, vm)
  const saved = readdirSync(path.join(rig.folder, 'snapshots'))
  const { boots } = rig.driver
  rig.driver.faults.failRestore = { times: 1, code: 'capacity' }
  const { result } = await settled(rig.begin(vm).done)
  assert.notEqual(result.outcome, 'succeeded')
  assert.deepEqual(readdirSync(path.join(rig.folder, 'snapshots')), saved)
  await rig.advance(1_000)
  assert.equal((await attemptOf(rig, vm)).snapshot, 'runtime')
  assert.equal(rig.driver.boots, boots)
})

test('Snapshots: snapshot none boots cold', async () => {
  const rig = machines()
  await rig.agent.register()
  const version = versionOf({ isolation: 'vm', snapshot: 'none' })
  await deployed(rig, version)
  assert.equal((await attemptOf(rig, version)).snapshot, 'none')
})

test('Snapshots: snapshot function restores with the code in it', async () => {
  const rig = machines()
  await rig.agent.register()
  const version = versionOf({ isolation: 'vm', snapshot: 'function', reuse: 'never' })
  const lines = await deployed(rig, version)
  assert.equal(lines.at(-1), 'Snapshot of the function: 1 MiB.')
  assert.equal((await attemptOf(rig, version)).snapshot, 'function')
})

test('Snapshots: code that does not load fails the deploy of a function snapshot', async () => {
  const rig = machines({ faults: { initError: 'no such module' } })
  await rig.agent.register()
  const version = versionOf({ isolation: 'vm', snapshot: 'function' })
  await assert.rejects(deployed(rig, version), { code: 'guest_failed', message: /no such module/ })
})

test('Snapshots: found again after a restart; another VMM version refuses them and makes new ones', async () => {
  const first = machines()
  await first.agent.register()
  await deployed(first, vm)
  const folder = first.folder
  mkdirSync(path.join(folder, 'snapshots/runtime-half'))
  writeFileSync(path.join(folder, 'snapshots/runtime-half/memory'), 'x')

  const second = machines({}, folder)
  await second.agent.register()
  await deployed(second, vm)
  assert.equal(second.driver.boots, 0, 'the snapshot of before serves')

  const third = machines({ faults: { vmmVersion: '2' } }, folder)
  await third.agent.register()
  await deployed(third, vm)
  assert.equal(third.driver.boots, 1, 'made anew')
  assert.equal(readdirSync(path.join(folder, 'snapshots')).length, 1)
})

test('Snapshots: a start while a refused one is made anew says which parts of its key differ, and is cold for it', async () => {
  const first = machines()
  await first.agent.register()
  await deployed(first, vm)
  for (const [faults, why] of [
    [{ vmmVersion: '2' }, 'VMM is 2, the snapshot has 1'],
    [
      { vmmVersion: '3', image: `sha256:${'e'.repeat(64)}` },
      `VMM is 3, the snapshot has 2; root image is ${'e'.repeat(12)}, the snapshot has ${'a'.repeat(12)}`,
    ],
  ] as const) {
    const next = machines({ faults: { ...faults, failSnapshot: 'not now' } }, first.folder)
    await next.agent.register()
    const { result } = await settled(next.begin(vm).done)
    assert.deepEqual([result.attempt?.snapshot, result.coldCause], [`refused: ${why}`, 'snapshot_refused'])
    delete next.driver.faults.failSnapshot
    await next.advance(60_000)
    await deployed(next, vm)
  }
})

test('Snapshots: another build in the place of the interpreter refuses what the one before had', async () => {
  const first = machines()
  await first.agent.register()
  await deployed(first, vm)
  const build = { ...fakeBuild, version: '26.0.1', digest: `sha256:${'b'.repeat(64)}` } as const
  const next = machines({}, first.folder, catalogOf(build))
  await next.agent.register()
  const { result } = await settled(next.begin(vm).done)
  const why =
    'runtime is node26 26.0.1, the snapshot has node26 26.0.0; root image is bbbbbbbbbbbb, the snapshot has aaaaaaaaaaaa'
  assert.deepEqual([result.attempt?.snapshot, result.coldCause], [`refused: ${why}`, 'snapshot_refused'])
})

test('Snapshots: a function snapshot that cannot be restored is named beside the rung that served', async () => {
  const rig = machines()
  await rig.agent.register()
  const version = versionOf({ isolation: 'vm', snapshot: 'function', reuse: 'never' })
  await deployed(rig, version)
  rig.driver.faults.failRestore = { times: 1 }
  const { result } = await settled(rig.begin(version).done)
  assert.match(result.attempt?.snapshot ?? '', /^runtime, function refused: Cannot restore instance "i-[0-9a-f]+"\.$/)
  assert.deepEqual([result.start, result.coldCause], ['snapshot', 'snapshot_refused'])
})

test('forget: the function snapshot of a Version goes, also one from before a restart, and is made again when called for', async () => {
  const version = versionOf({ isolation: 'vm', snapshot: 'function', reuse: 'never' })
  const other = versionOf({ isolation: 'vm', snapshot: 'function', reuse: 'never' }, { number: 2 })
  const first = machines()
  await first.agent.register()
  await deployed(first, version)
  await deployed(first, other)
  const kinds = (): string[] =>
    readdirSync(path.join(first.folder, 'snapshots')).map((name) => name.split('-')[0] ?? '')
  assert.deepEqual(kinds().sort(), ['function', 'function', 'runtime'])
  await first.agent.forget({ project: 'default', functionName: 'fn', number: 1 })
  assert.deepEqual(kinds().sort(), ['function', 'runtime'])
  assert.deepEqual(
    (await first.agent.kept()).map(({ number }) => number),
    [2],
  )
  assert.equal((await attemptOf(first, version)).snapshot, 'runtime', 'not refused: it was not wanted any more')
  const again = async (): Promise<true | string> => {
    const { snapshot } = await attemptOf(first, version)
    return snapshot === 'function' || String(snapshot)
  }
  await until(again, { what: 'a function snapshot' })

  const second = machines({}, first.folder)
  await second.agent.register()
  assert.equal((await second.agent.kept({ project: 'default', functionName: 'fn' })).length, 2)
  assert.deepEqual(await second.agent.kept({ project: 'default', functionName: 'fn2' }), [])
  for (const number of [1, 2]) await second.agent.forget({ project: 'default', functionName: 'fn', number })
  assert.deepEqual(kinds(), ['runtime'])
})

test('forget: a snapshot that is being made meanwhile goes when it is done', async () => {
  const rig = machines()
  await rig.agent.register()
  await deployed(rig, vm)
  rig.driver.faults.restoreMs = 1_000
  const version = versionOf({ isolation: 'vm', snapshot: 'function' }, { number: 7 })
  const deploying = rig.agent.deploy(version)
  while (readdirSync(path.join(rig.folder, 'snapshots')).length < 2) await rig.advance(500)
  await rig.agent.forget(version)
  for (let n = 0; n < 5; n++) await rig.advance(1_000)
  await deploying
  const isGone = (): boolean => readdirSync(path.join(rig.folder, 'snapshots')).length === 1
  await until(() => isGone() || 'it is there', { what: 'the snapshot to go' })
  assert.deepEqual(await rig.agent.kept(), [])
})

test('Snapshots: one whose clones were not compared before a crash does not serve', async () => {
  const first = machines()
  await first.agent.register()
  await deployed(first, vm)
  const [name = ''] = readdirSync(path.join(first.folder, 'snapshots'))
  rmSync(path.join(first.folder, 'snapshots', name, 'checked'))
  const second = machines({}, first.folder)
  await second.agent.register()
  await deployed(second, vm)
  assert.equal(second.driver.boots, 1, 'made anew')
})

test('Snapshots: one that has lost a file since, or a part of it, does not serve', async () => {
  for (const [damage, boots] of [
    [() => {}, 0],
    [(folder: string) => truncateSync(path.join(folder, 'memory'), 3), 1],
    [(folder: string) => rmSync(path.join(folder, 'memory')), 1],
  ] as const) {
    const first = machines()
    await first.agent.register()
    await deployed(first, vm)
    const [name = ''] = readdirSync(path.join(first.folder, 'snapshots'))
    damage(path.join(first.folder, 'snapshots', name))
    const second = machines({}, first.folder)
    await second.agent.register()
    await deployed(second, vm)
    assert.equal(second.driver.boots, boots)
  }
})

test('Snapshots: after a restart a function snapshot is given to its own Version alone', async () => {
  const own = versionOf({ isolation: 'vm', snapshot: 'function', reuse: 'never', env: { A: '1' } })
  const first = machines()
  await first.agent.register()
  await deployed(first, own)

  const second = machines({}, first.folder)
  await second.agent.register()
  const other = versionOf({ isolation: 'vm', snapshot: 'function', reuse: 'never', env: { A: '2' } }, { number: 2 })
  await deployed(second, other)
  assert.equal(second.driver.boots, 1, 'the same code in another environment is another snapshot')
  await deployed(second, own)
  assert.equal(second.driver.boots, 1, 'its own is found again')
})

test('DriverChoice: isolation vm is refused where no driver makes machines', async () => {
  const rig = AgentRig.fake()
  rigs.push(rig)
  await rig.agent.register()
  await assert.rejects(rig.agent.deploy(vm), { code: 'driver_failed', message: /No microVM driver works on this node/ })
})
