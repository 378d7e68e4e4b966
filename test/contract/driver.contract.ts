import assert from 'node:assert/strict'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { after, describe, test, type TestContext } from 'node:test'
import type { Prespawned } from '../../src/domain/driver.ts'
import type { Snapshot } from '../../src/domain/snapshot.ts'
import {
  bind,
  bootBasics,
  bootOne,
  invoke,
  nothingLeft,
  pause,
  type Booted,
  type DriverHarness,
} from './driver-contract-rig.ts'

/** What every Driver must do; `open` returns null with a reason where it cannot run. */
export function driverContract(name: string, open: () => Promise<DriverHarness | string>): void {
  describe(`driver contract: ${name}`, async () => {
    const opened = await open()
    if (typeof opened === 'string') return test(`skipped: ${opened}`, { skip: opened }, () => {})
    // What it can do is known from here on.
    const probe = await opened.driver.probe()
    if (!probe.works) await opened.close()
    assert.ok(probe.works, probe.detail)
    contractTests(opened)
    test('enforced features are told one by one', (context) => tellEnforced(opened, context))
    closeTest(opened)
  })
}

function contractTests(harness: DriverHarness): void {
  let count = 0
  const boot = async (): Promise<Booted> => bootOne(harness, `t-${process.pid}-${count++}`)
  after(async () => harness.close())
  lifeTests(harness, boot)
  endTests(harness, boot)
  snapshotTests(harness)
}

/** Last of all: nothing can be made afterwards. */
function closeTest(harness: DriverHarness): void {
  test('close: machines that live or are being made are ended, and nothing is left', async (context) => {
    const { driver, build, folder } = harness
    if (!driver.capabilities.isVm) return context.skip('who made its sandboxes ends them: the agent, or the launcher')
    const { sandbox } = await bootOne(harness, `t-${process.pid}-lives`)
    const id = `t-${process.pid}-comes`
    const coming = driver.boot(
      { ...bootBasics, instanceId: id, epoch: 'epoch-comes', runtime: build, folder: join(folder, id) },
      { deadlineMs: Date.now() + 60_000 },
    )
    const late = coming.then(
      ({ exited }) => exited,
      () => null,
    )
    await driver.close()
    await Promise.all([sandbox.exited, late])
    await nothingLeft(harness)
  })
}

function lifeTests(harness: DriverHarness, boot: () => Promise<Booted>): void {
  test('boot: the runtime says HELLO with the epoch and is alive until killed', async () => {
    const { sandbox, hello } = await boot()
    assert.equal(hello.role, 'runtime')
    const exit = await sandbox.kill()
    assert.ok(exit.signal !== null || exit.code !== null)
    await nothingLeft(harness)
  })

  test('usage: machines that live, and what they take of this host', async (context) => {
    const { driver } = harness
    if (driver.usage === undefined) return context.skip('its Instances are no machines')
    const before = await driver.usage()
    const { sandbox } = await boot()
    const { machines, memoryBytes, guestAvailableBytes } = await driver.usage()
    assert.equal(machines, before.machines + 1)
    assert.ok(memoryBytes > before.memoryBytes, `${memoryBytes} bytes, ${before.memoryBytes} before it`)
    assert.ok(guestAvailableBytes === null || guestAvailableBytes > 0)
    await sandbox.kill()
    assert.equal((await driver.usage()).machines, before.machines)
  })

  test('bind: READY, then invocations are answered', async () => {
    const booted = await boot()
    await bind(harness, booted)
    assert.deepEqual(JSON.parse(await invoke(booted, { n: 1 })), { n: 1 })
    assert.deepEqual(JSON.parse(await invoke(booted, { n: 2 })), { n: 2 })
    await assert.rejects(invoke(booted, { throw: 'on purpose' }), /on purpose/)
    await booted.sandbox.kill()
  })

  const { pause: mayPause, enforced } = harness.driver.capabilities
  const noPause = mayPause ? false : 'this driver cannot pause'
  const unlimited = enforced.some((each) => each.feature === 'memory_limit' && !each.enforced)
  const noStats = unlimited ? 'this driver does not measure memory' : false

  test('pause: nothing is answered until resume', { skip: noPause }, async () => {
    const booted = await boot()
    await bind(harness, booted)
    await booted.sandbox.pause()
    let isAnswered = false
    const answer = invoke(booted, { n: 3 }).then((text) => {
      isAnswered = true
      return text
    })
    await pause(150)
    assert.equal(isAnswered, false)
    await booted.sandbox.resume()
    assert.deepEqual(JSON.parse(await answer), { n: 3 })
    await booted.sandbox.kill()
  })

  test('pause: a paused sandbox can be killed', { skip: noPause }, async () => {
    const booted = await boot()
    await booted.sandbox.pause()
    await booted.sandbox.kill()
    await nothingLeft(harness)
  })

  test('stats: memory in use, peak not below it', { skip: noStats }, async () => {
    const booted = await boot()
    await bind(harness, booted)
    const usage = await booted.sandbox.stats()
    assert.ok(usage.memoryBytes > 0 && usage.memoryPeakBytes >= usage.memoryBytes, JSON.stringify(usage))
    assert.equal(usage.ephemeralFull, false)
    const { hostBytes = 0 } = usage
    if (harness.driver.capabilities.isVm) assert.ok(hostBytes > 2 ** 20, JSON.stringify(usage))
    await booted.sandbox.kill()
  })
}

function endTests(harness: DriverHarness, boot: () => Promise<Booted>): void {
  test('kill: twice is as good as once', async () => {
    const { sandbox } = await boot()
    const [first, second] = await Promise.all([sandbox.kill(), sandbox.kill()])
    assert.deepEqual(first, second)
    assert.deepEqual(await sandbox.kill(), first)
    assert.deepEqual(await sandbox.exited, first)
  })

  test('exit: the code of a runtime that ends by itself is reported', async () => {
    const booted = await boot()
    await bind(harness, booted)
    invoke(booted, { exit: 7 }).catch(() => {})
    const exit = await booted.sandbox.exited
    assert.deepEqual(exit, { code: 7, signal: null, oom: false })
    await booted.sandbox.kill()
    await nothingLeft(harness)
  })

  test('boot: one that fails throws driver_failed and leaves nothing', async (context) => {
    if (harness.breakBoot === null) return context.skip('a failing boot cannot be arranged here')
    harness.breakBoot()
    await assert.rejects(boot(), { code: 'driver_failed' })
    await nothingLeft(harness)
    const { sandbox } = await boot()
    await sandbox.kill()
  })

  test('boot: a deadline in the past throws timeout and leaves nothing', async () => {
    const spec = { ...bootBasics, instanceId: `late-${process.pid}`, epoch: 'late', runtime: harness.build }
    const folder = join(harness.folder, spec.instanceId)
    await assert.rejects(harness.driver.boot({ ...spec, folder }, { deadlineMs: Date.now() - 1 }), {
      code: 'timeout',
    })
    await nothingLeft(harness)
  })

  test('two sandboxes: each answers for itself, and one outlives the other', async () => {
    const [one, two] = await Promise.all([boot(), boot()])
    await Promise.all([bind(harness, one), bind(harness, two)])
    await one.sandbox.kill()
    assert.deepEqual(JSON.parse(await invoke(two, { n: 4 })), { n: 4 })
    await two.sandbox.kill()
    await nothingLeft(harness)
  })

  test('recover: a live handle is found or killed, a dead one is null', async () => {
    const { sandbox } = await boot()
    const spec = { epoch: 'next', runtime: harness.build }
    const found = await harness.driver.recover(sandbox.handle, spec, { deadlineMs: Date.now() + 60_000 })
    if (found === null) await sandbox.exited
    else await found.kill()
    await sandbox.kill()
    assert.equal(await harness.driver.recover(sandbox.handle, spec, { deadlineMs: Date.now() + 60_000 }), null)
  })
}

function snapshotTests(harness: DriverHarness): void {
  const { driver, build, folder } = harness
  const skip = driver.capabilities.snapshots ? false : 'this driver takes no snapshots'

  test(
    'snapshot: clones come up side by side, and one from a process that waited; each answers for itself',
    { skip },
    async () => {
      const snapshot = await save(harness)
      const clone = (name: string, prespawned?: Prespawned): Promise<Booted> => {
        const instanceId = `${name}-${process.pid}`
        return bootOne(harness, instanceId, async ({ epoch }, options) => {
          const spec = { instanceId, epoch, runtime: build, folder: join(folder, instanceId), codeImage: null }
          const sandbox = await driver.restore?.(snapshot, { ...spec, ...(prespawned && { prespawned }) }, options)
          assert.ok(sandbox)
          return sandbox
        })
      }
      const [one, two] = await Promise.all([clone('one'), clone('two')])
      await Promise.all([bind(harness, one), bind(harness, two)])
      assert.deepEqual(JSON.parse(await invoke(one, { n: 1 })), { n: 1 })
      await one.sandbox.kill()
      assert.deepEqual(JSON.parse(await invoke(two, { n: 2 })), { n: 2 })
      await two.sandbox.kill()
      const spec = { instanceId: `three-${process.pid}`, epoch: '', runtime: build, folder, codeImage: null }
      const three = await clone('three', await driver.prespawn?.(snapshot, spec))
      await bind(harness, three)
      assert.deepEqual(JSON.parse(await invoke(three, { n: 3 })), { n: 3 })
      await three.sandbox.kill()
      await driver.forgetSnapshot?.(snapshot)
      await rm(snapshot.folder, { recursive: true })
      await nothingLeft(harness)
    },
  )
}

async function save(harness: DriverHarness): Promise<Snapshot> {
  const { driver, build: runtime } = harness
  const id = `saved-${process.pid}`
  const { link, sandbox } = await bootOne(harness, id, (spec, options) =>
    driver.boot({ ...spec, isForSnapshot: true }, options),
  )
  await link.prepareSnapshot()
  const key = await driver.snapshotKey?.({ runtime, memoryMib: bootBasics.memoryMib, codeImage: null })
  assert.ok(key)
  const snapshot = await driver.snapshot?.(sandbox, { folder: join(harness.folder, id), kind: 'runtime', key })
  assert.ok(snapshot)
  return snapshot
}

function tellEnforced({ driver }: DriverHarness, context: TestContext): void {
  const { enforced } = driver.capabilities
  assert.equal(new Set(enforced.map(({ feature }) => feature)).size, enforced.length)
  const names = (is: boolean): string =>
    enforced.flatMap((each) => (each.enforced === is ? each.feature : [])).join(' ')
  context.diagnostic(`enforced: ${names(true) || 'nothing'}`)
  context.diagnostic(`not enforced: ${names(false) || 'nothing'}`)
  for (const { feature, enforced: holds, detail } of enforced) assert.ok(holds || detail !== '', feature)
}
