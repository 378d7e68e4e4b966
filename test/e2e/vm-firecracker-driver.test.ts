import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { readdirSync, readFileSync, statSync, symlinkSync } from 'node:fs'
import http from 'node:http'
import path from 'node:path'
import { after, describe, test } from 'node:test'
import { driverContract } from '../contract/driver.contract.ts'
import { driverRecoverContract } from '../contract/driver-recover.contract.ts'
import { firecrackerMissing, openFirecrackerRig, type FirecrackerRig } from '../support/firecracker-rig.ts'
import { vmHarness, vmSuccession } from '../support/vm-harness.ts'
import { hasRealFirecracker } from '../support/platform.ts'
import { until } from '../support/until.ts'
import type { Sandbox } from '../../src/domain/driver.ts'
import { silentLogger, type Logger } from '../../src/domain/logger.ts'
import { FirecrackerApi } from '../../src/driver/firecracker/api.ts'

/* On the simulator in test/fc-sim; with FIRECRACKER_BIN and JAILER_BIN set, the same on the real programs. */

driverContract('firecracker', async () => firecrackerMissing() ?? vmHarness(await openFirecrackerRig()))

driverRecoverContract('firecracker', async () => firecrackerMissing() ?? vmSuccession(await openFirecrackerRig()))

describe('firecracker: order of calls', { skip: firecrackerMissing() ?? false }, () => {
  let rig: FirecrackerRig | null = null
  const logged: { event: string; fields: Parameters<Logger['warn']>[1] }[] = []
  const logger: Logger = { ...silentLogger, warn: (event, fields) => void logged.push({ event, fields }) }
  after(() => rig?.close())

  async function boot(instanceId: string, isForSnapshot = false): Promise<{ sandbox: Sandbox; api: FirecrackerApi }> {
    rig ??= await openFirecrackerRig(logger)
    const runtime = rig.builds.find(({ family }) => family === 'node')
    assert.ok(runtime)
    const epoch = randomBytes(16).toString('hex')
    const folder = path.join(rig.folder, 'instances', instanceId)
    const spec = { instanceId, epoch, runtime, folder, memoryMib: 128, isForSnapshot }
    const sandbox = await rig.driver.boot(spec, { deadlineMs: Date.now() + 60_000 })
    return { sandbox, api: new FirecrackerApi(apiSocketOf(sandbox, rig)) }
  }

  test('after the start the machine cannot be configured, started, loaded or, while it runs, saved', async () => {
    const { sandbox, api } = await boot('order-1')
    const late = /not supported after starting the microVM/
    await assert.rejects(api.send('PUT /machine-config', { vcpu_count: 1, mem_size_mib: 128, smt: false }), late)
    await assert.rejects(api.send('PUT /vsock', { guest_cid: 3, uds_path: 'other.sock' }), late)
    await assert.rejects(api.send('PUT /actions', { action_type: 'InstanceStart' }), late)
    const load = { snapshot_path: 'state', network_overrides: [], resume_vm: false }
    const memory = { backend_type: 'File', backend_path: 'memory' } as const
    await assert.rejects(api.send('PUT /snapshot/load', { ...load, mem_backend: memory }), late)
    const files = { snapshot_type: 'Full', snapshot_path: 'state', mem_file_path: 'memory' } as const
    await assert.rejects(api.send('PUT /snapshot/create', files), {
      code: 'driver_failed',
      message: /Create snapshot|create/,
    })
    await assert.rejects(api.send('PATCH /drives/code', { drive_id: 'code', path_on_host: '/vm/none' }), {
      message: /Unable to patch the block device/,
    })
    api.close()
    await sandbox.kill()
  })

  test('a VMM that is killed ends its Instance, and its API says so', async () => {
    const { sandbox, api } = await boot('order-2')
    const stats = await sandbox.stats()
    assert.ok(stats.memoryBytes > 0)
    await sandbox.kill()
    await assert.rejects(api.send('PATCH /vm', { state: 'Paused' }), { code: 'driver_failed', retryable: true })
    assert.deepEqual(await rig?.leftovers(), [])
    api.close()
  })

  test('usage: the balloon tells what the guest could still use', async () => {
    const { sandbox, api } = await boot('order-3')
    const available = async (): Promise<true | string> => {
      const bytes = await api.guestAvailableBytes()
      return (bytes !== null && bytes > 2 ** 20 && bytes < 200 * 2 ** 20) || `it says ${bytes}`
    }
    await until(available, { what: "the guest's balloon driver" })
    assert.ok(((await rig?.driver.usage())?.guestAvailableBytes ?? 0) > 0)
    await sandbox.kill()
    api.close()
  })

  test('usage: a VMM that hangs takes a second at most, and counts with its memory', async () => {
    const { sandbox, api } = await boot('order-5')
    const [pid] = vmmOf(sandbox.handle.state['uid'])
    assert.ok(pid !== undefined)
    process.kill(pid, 'SIGSTOP')
    const fromMs = performance.now()
    const usage = await rig?.driver.usage()
    assert.ok(performance.now() - fromMs < 60_000)
    assert.ok(usage !== undefined && usage.memoryBytes > 2 ** 20)
    assert.deepEqual([usage.machines, usage.guestAvailableBytes], [1, null])
    process.kill(pid, 'SIGCONT')
    await sandbox.kill()
    api.close()
  })

  test('drives are limited after the boot, and again after a restore, which brings no limits', async () => {
    const { sandbox, api } = await boot('limits-1', true)
    api.close()
    assert.ok(rig)
    const runtime = rig.builds.find(({ family }) => family === 'node')
    assert.ok(runtime)
    const limits = { bandwidth: { size: 200_000_000, refill_time: 1_000 }, ops: { size: 5_000, refill_time: 1_000 } }
    const limited = ['root', 'code'].map((drive_id) => ({ drive_id, rate_limiter: limits }))
    assert.deepEqual(await drivesOf(path.join(rig.folder, 'jail-limits-1/api.sock')), limited)
    const folder = path.join(rig.folder, 'instances/limits-1')
    const spec = { runtime, memoryMib: 128, codeImage: null }
    const key = await rig.driver.snapshotKey(spec)
    const snapshot = await rig.driver.snapshot(sandbox, { folder, kind: 'runtime', key })
    const epoch = randomBytes(16).toString('hex')
    const clone = await rig.driver.restore(
      snapshot,
      { instanceId: 'limits-2', epoch, runtime, folder: path.join(rig.folder, 'instances/limits-2'), codeImage: null },
      { deadlineMs: Date.now() + 60_000 },
    )
    assert.deepEqual(await drivesOf(apiSocketOf(clone, rig)), limited)
    await clone.kill()
  })

  test('a VMM that ends by itself: its log is in the platform log, beside how it ended', async () => {
    const { sandbox, api } = await boot('order-4')
    const [pid, ...others] = vmmOf(sandbox.handle.state['uid'])
    assert.ok(pid !== undefined && others.length === 0)
    process.kill(pid, 'SIGKILL')
    const exit = await sandbox.exited
    assert.notEqual(exit.signal, null)
    const lost = logged.find(({ event, fields }) => event === 'vm.lost' && fields?.['instanceId'] === 'order-4')
    assert.equal(lost?.fields?.['driver'], 'firecracker')
    if (!hasRealFirecracker) assert.match(String(lost?.fields?.['words']), /Firecracker exiting\. exit_code=1/)
    api.close()
  })
})

/** Of its VMM, by a name that a socket's address has room for. */
function apiSocketOf({ handle: { state } }: Sandbox, { folder }: FirecrackerRig): string {
  const link = path.join(folder, `jail-${String(state['instance'])}`)
  symlinkSync(String(state['root']), link)
  return path.join(link, 'api.sock')
}

/** Drives and their limits, as `GET /vm/config` of the VMM has them. */
async function drivesOf(socketPath: string): Promise<unknown> {
  const request = http.get({ socketPath, path: '/vm/config' })
  const [response]: http.IncomingMessage[] = await once(request, 'response')
  let text = ''
  for await (const chunk of response ?? []) text += String(chunk)
  const config: { drives: readonly { drive_id: string; rate_limiter: unknown }[] } = JSON.parse(text)
  return config.drives.map(({ drive_id, rate_limiter }) => ({ drive_id, rate_limiter }))
}

/** What runs the guest: the simulator's QEMU, or Firecracker itself. Each VM has a uid of its own. */
function vmmOf(uid: unknown): number[] {
  const wanted = hasRealFirecracker ? 'firecracker' : 'qemu-system-x86'
  return readdirSync('/proc').flatMap((name) => {
    try {
      const isOurs = /^\d+$/.test(name) && statSync(`/proc/${name}`).uid === uid
      return isOurs && readFileSync(`/proc/${name}/comm`, 'utf8').trim() === wanted ? [Number(name)] : []
    } catch {
      return [] // One that went meanwhile.
    }
  })
}
