import assert from 'node:assert/strict'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { deployFiles, invoke } from '../support/functions.ts'
import { shelvedKernel, vmObstacle } from '../support/guest-vm.ts'
import { heldAtRest, leftovers, untilHeld } from '../support/leftovers.ts'
import { startPlatform, type Platform } from '../support/platform.ts'
import { seededTest } from '../support/seeded.ts'
import { until } from '../support/until.ts'
import { clockMsMax, countClones, deployClones, vmmsOf, watchVmms } from '../support/vm-counts.ts'
import { vmMissing } from '../support/vm-rig.ts'

const restores = Number(process.env['HEARTH_TEST_RESTORES'] ?? 300)
const clones = Number(process.env['HEARTH_TEST_CLONES'] ?? 50)
const vms = Number(process.env['HEARTH_TEST_VMS'] ?? 500)
const kills = Number(process.env['HEARTH_TEST_VM_KILLS'] ?? 5)
const pauseMinutes = Number(process.env['HEARTH_TEST_PAUSE_MINUTES'] ?? 10)

/** A clone is told to live so long that the last of them comes up while the first is there: 0.06 s each on two free cores. */
const holdMsEach = 1_000

const skip = vmMissing() ?? vmObstacle(shelvedKernel()) ?? false

seededTest(
  `${restores} restores, ${clones} clones at once, ${vms} fresh VMs, one paused for ${pauseMinutes} minutes: all right, nothing left`,
  async (_random, t) => {
    const platform = await startPlatform()
    try {
      const pausedAt = await pauseOne(platform)
      await deployClones(platform, 'of-function', 'function')
      await deployClones(platform, 'of-runtime', 'runtime')
      const before = await heldAtRest(platform)
      const others = vmmsOf(platform).length
      const ofFunction = { platform, name: 'of-function', snapshot: 'function' }
      await countClones(t, ofFunction, { count: restores, clients: 2 })
      await untilHeld(platform, before)
      const holdMs = clones * holdMsEach
      const atOnce = countClones(t, ofFunction, { count: clones, clients: clones, holdMs })
      const { most, pssMib } = await watchVmms(platform, atOnce)
      t.diagnostic(`${most} VMMs at once, ${others} of them others; ${pssMib.toFixed(1)} MiB each (PSS)`)
      assert.ok(most - others >= clones, `${most - others} at once`)
      await untilHeld(platform, before)
      await countClones(t, { ...ofFunction, name: 'of-runtime', snapshot: 'runtime' }, { count: vms, clients: 2 })
      await untilHeld(platform, before)
      await delay(Math.max(0, pauseMinutes * 60_000 - (performance.now() - pausedAt)))
      t.diagnostic(await wake(platform))
    } finally {
      assert.equal(await platform.stop(), 0)
      assert.deepEqual(leftovers(platform.data), [])
    }
  },
  { skip },
)

seededTest(
  `${kills} kills of the platform while VMs come and go: nothing is left after the next start`,
  async (random, t) => {
    const folder = await mkdtemp(path.join(os.tmpdir(), 'hearth-vm-kill-'))
    const data = path.join(folder, 'data')
    let platform = await startPlatform({ data, keepData: true })
    await deployClones(platform, 'of-runtime', 'runtime')
    for (let kill = 0; kill < kills; kill++) {
      const calls = Array.from({ length: 4 }, () => callWithoutEnd(platform))
      await delay(500 + random.below(2_500))
      const alive = vmmsOf(platform).length
      await platform.kill9()
      await Promise.all(calls)
      platform = await startPlatform({ data, keepData: true })
      await until(() => vmmsOf(platform).length === 0 || `${vmmsOf(platform).length} VMMs`, {
        what: `the end of the ${alive} VMMs that kill ${kill + 1} left`,
      })
      assert.deepEqual(await readdir(path.join(data, 'vm')), [])
      const reply = await invoke(platform, 'of-runtime')
      assert.equal(reply.status, 200, reply.body.toString())
      t.diagnostic(`kill ${kill + 1} met ${alive} VMMs`)
    }
    assert.equal(await platform.stop(), 0)
    assert.deepEqual(leftovers(data), [])
    await rm(folder, { recursive: true, force: true })
  },
  { skip },
)

/** When it answered: it is paused at once. */
async function pauseOne(platform: Platform): Promise<number> {
  const config = { isolation: 'vm', timeoutMs: 60_000, freezeAfterMs: 0, keepAliveMs: 7_200_000 }
  const files = { 'index.js': 'exports.handler = async () => Date.now()' }
  await deployFiles(platform, { name: 'clock', runtime: 'node', handler: 'index.handler', files, config })
  assert.equal((await invoke(platform, 'clock')).status, 200)
  return performance.now()
}

async function wake(platform: Platform): Promise<string> {
  const fromMs = Date.now()
  const reply = await invoke(platform, 'clock')
  const tookMs = Date.now() - fromMs
  assert.equal(reply.headers.get('hearth-start'), 'warm')
  const offMs = reply.json<number>() - fromMs
  assert.ok(
    offMs > -clockMsMax && offMs < tookMs + clockMsMax,
    `${offMs} ms after the call began, which took ${tookMs}`,
  )
  return `after the pause: the guest's clock ${offMs} ms after the call began, which took ${tookMs} ms`
}

async function callWithoutEnd(platform: Platform): Promise<void> {
  for (;;) {
    try {
      const reply = await invoke(platform, 'of-runtime')
      if (reply.status !== 200) return
    } catch {
      return // It was killed.
    }
  }
}
