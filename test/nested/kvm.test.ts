import assert from 'node:assert/strict'
import path from 'node:path'
import { after, before, describe, test } from 'node:test'
import type { BootSpec, Sandbox } from '../../src/domain/driver.ts'
import { bind, bootOne, invoke, type Booted, type DriverHarness } from '../contract/driver-contract-rig.ts'
import { vmHarness } from '../support/vm-harness.ts'
import { openVmRig } from '../support/vm-rig.ts'

/* QEMU's driver on KVM. Time limits are wide: KVM itself is emulated here. */

const slowMs = 240_000

describe('qemu driver on a machine with KVM', () => {
  let harness: DriverHarness
  before(async () => {
    harness = await vmHarness(await openVmRig())
  })
  after(async () => harness.close())

  const start = (id: string, make: (spec: BootSpec) => Promise<Sandbox | undefined>): Promise<Booted> =>
    bootOne(harness, id, async (spec) => {
      const sandbox = await make(spec)
      assert.ok(sandbox)
      return sandbox
    })

  test('probe: a guest boots, and KVM is what machines run on', async (t) => {
    const { works, detail, capabilities } = await harness.driver.probe()
    t.diagnostic(detail)
    assert.ok(works, detail)
    assert.equal(capabilities.vmm?.accelerator, 'kvm')
  })

  test('boots, answers, and answers after a pause', async (t) => {
    const fromMs = performance.now()
    const booted = await start('cold', (spec) => harness.driver.boot(spec, { deadlineMs: Date.now() + slowMs }))
    await bind(harness, booted)
    assert.deepEqual(JSON.parse(await invoke(booted, { n: 1 })), { n: 1 })
    t.diagnostic(`cold boot to answer: ${(performance.now() - fromMs).toFixed(0)} ms`)
    await booted.sandbox.pause()
    await booted.sandbox.resume()
    assert.deepEqual(JSON.parse(await invoke(booted, { n: 2 })), { n: 2 })
    await booted.sandbox.kill()
  })

  test('saves a machine, and clones of it answer', async (t) => {
    const { driver, build: runtime, folder } = harness
    const saved = await start('saved', (spec) =>
      driver.boot({ ...spec, isForSnapshot: true }, { deadlineMs: Date.now() + slowMs }),
    )
    await saved.link.prepareSnapshot()
    const key = await driver.snapshotKey?.({ runtime, memoryMib: 256, codeImage: null })
    assert.equal(key?.['accelerator'], 'kvm')
    const snapshot = await driver.snapshot?.(saved.sandbox, {
      folder: path.join(folder, 'saved'),
      kind: 'runtime',
      key,
    })
    assert.ok(snapshot)
    for (const id of ['one', 'two']) {
      const fromMs = performance.now()
      const clone = await start(id, async ({ instanceId, epoch }) =>
        driver.restore?.(
          snapshot,
          { instanceId, epoch, runtime, folder: path.join(folder, id), codeImage: null },
          { deadlineMs: Date.now() + slowMs },
        ),
      )
      await bind(harness, clone)
      assert.deepEqual(JSON.parse(await invoke(clone, { id })), { id })
      t.diagnostic(`restore to answer: ${(performance.now() - fromMs).toFixed(0)} ms`)
      await clone.sandbox.kill()
    }
    await driver.forgetSnapshot?.(snapshot)
  })
})
