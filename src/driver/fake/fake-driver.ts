import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { duplexPair } from 'node:stream'
import { systemClock, type Clock } from '../../domain/clock.ts'
import { folderBound } from '../../domain/driver.ts'
import type {
  BindSpec,
  BootSpec,
  Capabilities,
  Driver,
  Prespawned,
  ProbeResult,
  RecoverSpec,
  RestoreSpec,
  Sandbox,
  SnapshotSpec,
  VmmFacts,
} from '../../domain/driver.ts'
import type { Snapshot, SnapshotKey, SnapshotKind } from '../../domain/snapshot.ts'
import { AppError } from '../../domain/error.ts'
import type { FakeFaults } from './faults.ts'
import { FakeSandbox } from './fake-sandbox.ts'
import { FakePrespawned } from './fake-prespawned.ts'
import type { FakeHandler } from './fake-runtime.ts'

export interface FakeDriverOptions {
  readonly handler?: FakeHandler
  readonly clock?: Clock
  readonly faults?: FakeFaults
  /** For the faults that strike at random: the same seed strikes the same invocations. */
  readonly seed?: number
  /** Sum of `memoryMib` over bound sandboxes; more is `capacity`. Default: no bound. */
  readonly memoryMib?: number
  /** It makes machines: fixed sizes of memory, snapshots. */
  readonly isVm?: boolean
  /** What they run on; default kvm. */
  readonly accelerator?: VmmFacts['accelerator']
}

const machines = {
  snapshots: true,
  isVm: true,
  memoryClassesMib: [128, 256, 512, 1024, 2048],
} as const satisfies Partial<Capabilities>

/** Sandboxes that exist only in this process, with runtimes that are functions; they speak the real guest protocol over an
 *  in-memory channel. For tests of the agent and the control plane in virtual time, and for trying failure paths by hand. */
export class FakeDriver implements Driver {
  readonly name = 'fake'
  readonly faults: FakeFaults
  readonly capabilities: Capabilities
  readonly #handler: FakeHandler
  readonly #clock: Clock
  readonly #memoryMib: number
  readonly #random: () => number
  readonly #alive = new Map<string, FakeSandbox>()
  readonly #waiting = new Map<string, FakePrespawned>()
  #boots = 0
  #restores = 0
  #snapshots = 0

  constructor(options: FakeDriverOptions = {}) {
    this.#handler = options.handler ?? ((event) => event)
    this.#clock = options.clock ?? systemClock
    this.faults = options.faults ?? {}
    this.#memoryMib = options.memoryMib ?? Infinity
    this.#random = seeded(options.seed ?? 1)
    this.capabilities = {
      ...folderBound,
      ...(options.isVm === true && {
        ...machines,
        vmm: { name: 'fake', version: '1', accelerator: options.accelerator ?? 'kvm' },
      }),
      pause: true,
      enforced: [{ feature: 'isolation', enforced: false, detail: 'functions run inside the platform process' }],
    }
  }

  /** Sandboxes that are alive now, by instance id. */
  get alive(): ReadonlyMap<string, FakeSandbox> {
    return this.#alive
  }

  /** Boots asked for so far. */
  get boots(): number {
    return this.#boots
  }

  get restores(): number {
    return this.#restores
  }

  /** Processes started ahead that still wait, by instance id. */
  get waiting(): ReadonlyMap<string, FakePrespawned> {
    return this.#waiting
  }

  async probe(): Promise<ProbeResult> {
    return { works: true, detail: 'Runs functions inside this process.', capabilities: this.capabilities }
  }

  async boot(spec: BootSpec, options: { signal?: AbortSignal; deadlineMs: number }): Promise<Sandbox> {
    this.#boots++
    await this.#delay(this.faults.bootMs ?? 0, options)
    this.#failBootIfAsked(spec)
    return this.#make(spec)
  }

  async snapshotKey({ runtime, memoryMib, codeImage }: SnapshotSpec): Promise<SnapshotKey> {
    const { vmmVersion: vmm = '1', image = runtime.digest } = this.faults
    return { vmm, image, memory: `${memoryMib} MiB`, code: codeImage ?? 'none' }
  }

  async snapshot(
    sandbox: Sandbox,
    { folder, kind, key }: { folder: string; kind: SnapshotKind; key: SnapshotKey },
  ): Promise<Snapshot> {
    const { failSnapshot, hangOnSave } = this.faults
    if (hangOnSave === true) await new Promise(() => {})
    await sandbox.kill()
    if (failSnapshot !== undefined)
      throw new AppError('driver_failed', `Cannot save the machine: step "${failSnapshot}" failed.`)
    const memoryMib = Number.parseInt(key['memory'] ?? '0', 10)
    const about = { driver: this.name, kind, key, folder, memoryMib, bytes: 2 ** 20, createdAt: this.#clock.nowMs() }
    const snapshot = { id: `s-${++this.#snapshots}`, ...about }
    mkdirSync(folder, { recursive: true })
    writeFileSync(join(folder, 'snapshot.json'), JSON.stringify(snapshot))
    writeFileSync(join(folder, 'memory'), 'all of it')
    return snapshot
  }

  async restore(
    snapshot: Snapshot,
    spec: RestoreSpec,
    options: { signal?: AbortSignal; deadlineMs: number },
  ): Promise<Sandbox> {
    this.#restores++
    const { failRestore, restoreMs = 0, spareRestoreMs = restoreMs } = this.faults
    const { prespawned } = spec
    if (prespawned !== undefined && !this.#use(prespawned, snapshot))
      throw new AppError('driver_failed', `Cannot restore instance "${spec.instanceId}": its process has ended.`)
    await this.#delay(prespawned === undefined ? restoreMs : spareRestoreMs, options)
    if (failRestore !== undefined && failRestore.times > 0) {
      failRestore.times--
      throw new AppError(failRestore.code ?? 'driver_failed', `Cannot restore instance "${spec.instanceId}".`)
    }
    const { instanceId, epoch, runtime, folder } = spec
    return this.#make({ instanceId, epoch, runtime, folder, memoryMib: snapshot.memoryMib, isForSnapshot: false })
  }

  async prespawn(snapshot: Snapshot, spec: Omit<RestoreSpec, 'prespawned' | 'epoch'>): Promise<Prespawned> {
    const { failPrespawn } = this.faults
    if (failPrespawn !== undefined && failPrespawn.times > 0) {
      failPrespawn.times--
      throw new AppError('driver_failed', `Cannot start a process for instance "${spec.instanceId}".`)
    }
    const waiting = new FakePrespawned(snapshot.id)
    this.#waiting.set(spec.instanceId, waiting)
    void waiting.ended.then(() => this.#waiting.delete(spec.instanceId))
    return waiting
  }

  /** The same runtime over new channels; to whoever held it before it looks as if its host were gone. */
  async recover(
    handle: Sandbox['handle'],
    { epoch }: RecoverSpec,
    options: { signal?: AbortSignal; deadlineMs: number },
  ): Promise<Sandbox | null> {
    const id = handle.state['instance']
    const held = typeof id === 'string' ? this.#alive.get(id) : undefined
    if (held === undefined) return null
    const { failRecover, hangOnRecover } = this.faults
    try {
      if (hangOnRecover === true) await this.#delay(Number.MAX_SAFE_INTEGER, options)
      if (failRecover !== undefined) throw new AppError('driver_failed', failRecover)
    } catch (error) {
      await held.kill()
      throw error
    }
    return this.#make({ ...held.leave(), epoch }, held.isBusy)
  }

  /** False when it is used up, ended, or another snapshot's. */
  #use(prespawned: Prespawned, { id }: Snapshot): boolean {
    const isUsable = prespawned.isAlive && prespawned.snapshotId === id
    for (const [instanceId, waiting] of this.#waiting) if (waiting === prespawned) this.#waiting.delete(instanceId)
    if (isUsable && prespawned instanceof FakePrespawned) prespawned.isUsed = true
    return isUsable
  }

  #make(spec: BootSpec, isBusy = false): FakeSandbox {
    const [host, guest] = duplexPair()
    const [hostSupervisor, guestSupervisor] = duplexPair()
    const sandbox = new FakeSandbox({
      spec,
      isBusy,
      faults: this.faults,
      clock: this.#clock,
      handler: this.#handler,
      random: this.#random,
      host: { runtime: host, supervisor: hostSupervisor },
      guest: { runtime: guest, supervisor: guestSupervisor },
      reserve: (bind) => this.#reserve(spec.instanceId, bind),
    })
    this.#alive.set(spec.instanceId, sandbox)
    // One that was taken over has a successor under its name.
    void sandbox.exited.then(() => this.#alive.get(spec.instanceId) === sandbox && this.#alive.delete(spec.instanceId))
    return sandbox
  }

  async close(): Promise<void> {
    await Promise.all([...this.#alive.values(), ...this.#waiting.values()].map((each) => each.kill()))
  }

  async #delay(ms: number, { signal, deadlineMs }: { signal?: AbortSignal; deadlineMs: number }): Promise<void> {
    if (signal?.aborted === true) throw new AppError('timeout', 'Boot was called off.')
    const leftMs = deadlineMs - this.#clock.nowMs()
    if (leftMs <= 0) throw new AppError('timeout', 'Cannot boot: the deadline passed.')
    if (ms <= 0) return
    await new Promise<void>((resolve, reject) => {
      const late = ms > leftMs
      const timer = this.#clock.schedule(Math.min(ms, leftMs), () => {
        if (late) reject(new AppError('timeout', 'Cannot boot: the deadline passed.'))
        else resolve()
      })
      signal?.addEventListener('abort', () => {
        timer.cancel()
        reject(new AppError('timeout', 'Boot was called off.'))
      })
    })
  }

  #failBootIfAsked(spec: BootSpec): void {
    const fault = this.faults.failBoot
    if (fault === undefined || fault.times <= 0) return
    fault.times--
    throw new AppError('driver_failed', `Cannot boot instance "${spec.instanceId}": step "${fault.step}" failed.`)
  }

  #reserve(instanceId: string, spec: BindSpec): void {
    let usedMib = spec.memoryMib
    for (const [id, sandbox] of this.#alive) if (id !== instanceId) usedMib += sandbox.boundMib
    if (usedMib > this.#memoryMib)
      throw new AppError('capacity', `Cannot bind instance "${instanceId}": ${this.#memoryMib} MiB are taken.`)
  }
}

/** Numbers in [0, 1), the same for the same seed (mulberry32). */
function seeded(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}
