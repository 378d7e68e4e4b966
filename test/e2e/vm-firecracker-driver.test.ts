import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import path from 'node:path'
import { after, describe, test } from 'node:test'
import { driverContract } from '../contract/driver.contract.ts'
import { driverRecoverContract } from '../contract/driver-recover.contract.ts'
import { firecrackerMissing, openFirecrackerRig, type FirecrackerRig } from '../support/firecracker-rig.ts'
import { vmHarness, vmSuccession } from '../support/vm-harness.ts'
import type { Sandbox } from '../../src/domain/driver.ts'
import { FirecrackerApi } from '../../src/driver/firecracker/api.ts'

/* On the simulator in test/fc-sim; with FIRECRACKER_BIN and JAILER_BIN set, the same on the real programs. */

driverContract('firecracker', async () => firecrackerMissing() ?? vmHarness(await openFirecrackerRig()))

driverRecoverContract('firecracker', async () => firecrackerMissing() ?? vmSuccession(await openFirecrackerRig()))

describe('firecracker: order of calls', { skip: firecrackerMissing() ?? false }, () => {
  let rig: FirecrackerRig | null = null
  after(() => rig?.close())

  async function boot(instanceId: string): Promise<{ sandbox: Sandbox; api: FirecrackerApi }> {
    rig ??= await openFirecrackerRig()
    const runtime = rig.builds.find(({ family }) => family === 'node')
    assert.ok(runtime)
    const epoch = randomBytes(16).toString('hex')
    const folder = path.join(rig.folder, 'instances', instanceId)
    const spec = { instanceId, epoch, runtime, folder, memoryMib: 128, isForSnapshot: false }
    const sandbox = await rig.driver.boot(spec, { deadlineMs: Date.now() + 60_000 })
    const root = sandbox.handle.state['root']
    assert.ok(typeof root === 'string')
    return { sandbox, api: new FirecrackerApi(path.join(root, 'api.sock')) }
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
})
