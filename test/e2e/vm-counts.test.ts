import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { shelvedKernel, vmObstacle } from '../support/guest-vm.ts'
import { deployFiles, invoke } from '../support/functions.ts'
import { heldAtRest, leftovers, untilHeld } from '../support/leftovers.ts'
import { startPlatform, type Platform } from '../support/platform.ts'
import { clockMsMax, countClones, deployClones, vmmsOf, watchVmms } from '../support/vm-counts.ts'
import { vmMissing } from '../support/vm-rig.ts'

/* Many microVMs, one after the other and at once; `npm run torture` takes larger counts. */

const missing = vmMissing() ?? vmObstacle(shelvedKernel())
const skip = missing === null ? false : missing

/** Long enough that a clock which stood still is seen, and one which is set from a stale answer too. */
const pauseMs = 5_000

let platform: Platform
let pausedAt = 0
before(async () => {
  if (missing !== null) return
  platform = await startPlatform()
  const config = { isolation: 'vm', timeoutMs: 60_000, freezeAfterMs: 0, keepAliveMs: 600_000 }
  const files = { 'index.js': 'exports.handler = async () => Date.now()' }
  await deployFiles(platform, { name: 'clock', runtime: 'node', handler: 'index.handler', files, config })
  assert.equal((await invoke(platform, 'clock')).status, 200)
  pausedAt = performance.now()
  await deployClones(platform, 'of-function', 'function')
  await deployClones(platform, 'of-runtime', 'runtime')
})
after(async () => {
  if (missing !== null) return
  assert.equal(await platform.stop(), 0)
  assert.deepEqual(leftovers(platform.data), [])
})

test('20 restores: each VM is its own, and its clock is right; nothing is left of them', { skip }, async (t) => {
  const before = await heldAtRest(platform)
  const of = { platform, name: 'of-function', snapshot: 'function' }
  await countClones(t, of, { count: 20, clients: 1 })
  await untilHeld(platform, before)
})

test('10 clones at once: each VM is its own', { skip }, async (t) => {
  const before = await heldAtRest(platform)
  const others = vmmsOf(platform).length
  const of = { platform, name: 'of-function', snapshot: 'function' }
  const counting = countClones(t, of, { count: 10, clients: 10, holdMs: 4_000 })
  const { most, pssMib } = await watchVmms(platform, counting)
  t.diagnostic(`${most} VMMs at most, ${others} of them others; ${pssMib.toFixed(1)} MiB each (PSS)`)
  // On a machine that is busy with more than this the last may come after the first has gone.
  assert.ok(most - others >= 8, `${most - others} at once`)
  await untilHeld(platform, before)
})

test('20 fresh VMs of a runtime: each is its own', { skip }, async (t) => {
  const before = await heldAtRest(platform)
  await countClones(t, { platform, name: 'of-runtime', snapshot: 'runtime' }, { count: 20, clients: 2 })
  await untilHeld(platform, before)
})

test('a VM that was paused for some seconds has the right time in its next call', { skip }, async (t) => {
  const restMs = pauseMs - (performance.now() - pausedAt)
  if (restMs > 0) await new Promise((resolve) => void setTimeout(resolve, restMs))
  const pausedMs = performance.now() - pausedAt
  const fromMs = Date.now()
  const reply = await invoke(platform, 'clock')
  const toMs = Date.now()
  assert.equal(reply.headers.get('hearth-start'), 'warm')
  const offMs = reply.json<number>() - fromMs
  t.diagnostic(`${offMs} ms after the call began, which took ${toMs - fromMs} ms; paused for ${pausedMs.toFixed(0)} ms`)
  assert.ok(offMs > -clockMsMax && offMs < toMs - fromMs + clockMsMax, `${offMs} ms after the call began`)
})
