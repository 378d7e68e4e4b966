import assert from 'node:assert/strict'
import { after, describe, test } from 'node:test'
import type { Sandbox } from '../../src/domain/driver.ts'
import { until } from '../support/until.ts'
import { bind, bootOne, invoke, type Booted, type DriverHarness } from './driver-contract-rig.ts'

/** A driver whose platform is killed, and the drivers of the platforms after it. */
export interface Succession {
  readonly harness: DriverHarness
  /** kill -9; `harness` is the next platform's from then on. */
  crash(): Promise<void>
  /** Ends what was not taken over; resolves with the Instances' names. */
  sweep(): Promise<readonly string[]>
}

/** As an agent finds it on disk. */
type Handle = Sandbox['handle']

/** What a Driver must do whose sandboxes outlive the platform. */
export function driverRecoverContract(name: string, open: () => Promise<Succession | string>): void {
  describe(`driver contract, recover: ${name}`, async () => {
    const opened = await open()
    if (typeof opened === 'string') return test(`skipped: ${opened}`, { skip: opened }, () => {})
    after(() => opened.harness.close())
    takeOverTest(opened)
    refusalTest(opened)
  })
}

let count = 0

/** What both tests do with the succession. */
function tools(of: Succession) {
  const boot = (): Promise<Booted> => bootOne(of.harness, `r-${process.pid}-${count++}`)
  const bound = async (): Promise<Booted> => {
    const booted = await boot()
    await bind(of.harness, booted)
    return booted
  }
  const onDisk = ({ sandbox }: Booted): Handle => JSON.parse(JSON.stringify(sandbox.handle))
  const recover = (handle: Handle, id: string): Promise<Booted> =>
    bootOne(
      of.harness,
      id,
      async ({ epoch, runtime }, options) => {
        const sandbox = await of.harness.driver.recover(handle, { epoch, runtime }, options)
        assert.ok(sandbox, 'it is gone')
        return sandbox
      },
      true,
    )
  const refuses = async (handle: Handle, reason: RegExp): Promise<void> => {
    const spec = { epoch: 'refused', runtime: of.harness.build }
    const recovering = of.harness.driver.recover(handle, spec, { deadlineMs: Date.now() + 60_000 })
    await assert.rejects(recovering, { code: 'driver_failed', message: reason })
  }
  return { boot, bound, onDisk, recover, refuses }
}

function takeOverTest(of: Succession): void {
  const { boot, bound, onDisk, recover } = tools(of)

  test('recover: after a kill -9 the next platform goes on with the same process, paused or not, bound or not', async () => {
    const [paused, running, unbound] = await Promise.all([bound(), bound(), boot()])
    for (const each of [paused, running]) assert.equal(await invoke(each, { count: true }), '1')
    await paused.sandbox.pause()
    const handles = [paused, running, unbound].map(onDisk)
    await of.crash()
    for (const [at, before] of [paused, running, unbound].entries()) {
      const handle = handles[at]
      assert.ok(handle)
      const next = await recover(handle, before.id)
      assert.equal(next.hello.isBusy, false)
      await bind(of.harness, next)
      assert.equal(await invoke(next, { count: true }), before === unbound ? '1' : '2')
      assert.deepEqual(next.sandbox.handle.state['instance'], before.id)
      await next.sandbox.kill()
      const spec = { epoch: 'late', runtime: of.harness.build }
      assert.equal(await of.harness.driver.recover(handle, spec, { deadlineMs: Date.now() + 60_000 }), null)
    }
    assert.deepEqual(await of.harness.leftovers(), [])
  })
}

function refusalTest(of: Succession): void {
  const { boot, bound, onDisk, recover, refuses } = tools(of)

  test('recover: one that worked says so; of another VMM or image it is refused; what nobody asked for is swept', async () => {
    const [busy, other, unasked] = await Promise.all([bound(), boot(), boot()])
    invoke(busy, { hang: true }).catch(() => {})
    await busy.link.ping()
    const [busyHandle, otherHandle] = [onDisk(busy), onDisk(other)]
    await of.crash()
    const found = await recover(busyHandle, busy.id)
    assert.equal(found.hello.isBusy, true)
    await found.sandbox.kill()
    const otherWith = (change: Record<string, unknown>): Handle => ({
      ...otherHandle,
      state: { ...otherHandle.state, ...change },
    })
    await refuses(otherWith({ vmm: 'qemu 0.1' }), /^It was made by qemu 0.1, here is \w+ [\d.]+\.$/)
    await refuses(otherWith({ hasCode: 'yes' }), /"hasCode" must be true or false/)
    // What it runs on here is known once a guest has booted.
    await of.harness.driver.probe()
    const others = { tcg: 'kvm', kvm: 'tcg' }
    const made = others[otherHandle.state['accelerator'] === 'kvm' ? 'kvm' : 'tcg']
    await refuses(otherWith({ accelerator: made }), new RegExp(`^It runs on ${made}`))
    await refuses(otherWith({ accelerator: 'none' }), /"accelerator" must be kvm or tcg/)
    const nobody = otherWith({ instance: '../../etc' })
    const spec = { epoch: 'refused', runtime: of.harness.build }
    assert.equal(await of.harness.driver.recover(nobody, spec, { deadlineMs: Date.now() + 60_000 }), null)
    // This one is held by then: it is killed.
    await refuses(otherWith({ image: `sha256:${'0'.repeat(64)}` }), /^Its root image is sha256:0+, that of node/)
    assert.deepEqual(await of.sweep(), [unasked.id])
    const isClean = async (): Promise<true | string> => {
      const left = await of.harness.leftovers()
      return left.length === 0 || left.join(', ')
    }
    await until(isClean, { what: 'what was swept to be gone' })
  })
}
