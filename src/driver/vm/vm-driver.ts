import { randomBytes } from 'node:crypto'
import { mkdir, rm, stat, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import type {
  BootSpec,
  Capabilities,
  Driver,
  EnforcedFeature,
  MachinesUsage,
  Prespawned,
  ProbeResult,
  RecoverSpec,
  RestoreSpec,
  Sandbox,
  SnapshotSpec,
} from '../../domain/driver.ts'
import { AppError } from '../../domain/error.ts'
import type { ImageStore } from '../../domain/image.ts'
import type { Logger } from '../../domain/logger.ts'
import type { RuntimeBuild } from '../../domain/runtime.ts'
import type { Snapshot, SnapshotKey, SnapshotKind } from '../../domain/snapshot.ts'
import type { Undo } from '../../domain/undo.ts'
import { greet, resume } from './handshake.ts'
import { Makings } from './makings.ts'
import { totalUsage } from './total-usage.ts'
import { Trials, type Tried } from './trials.ts'
import { VmSandbox } from './vm-sandbox.ts'
import { checkAccelerator, checkImage, checkSnapshotImage, parseVmState, type VmState } from './vm-state.ts'
import { WaitingVmm } from './waiting-vmm.ts'
import { wake, Wakings } from './wakings.ts'
import { vmOverheadMib, type Accelerator, type Machine, type Vmm } from './vmm.ts'

export interface VmDriverOptions {
  readonly vmm: Vmm
  readonly images: ImageStore
  readonly logger: Logger
  /** What is enforced beside the machine itself. */
  readonly enforced: readonly EnforcedFeature[]
  /** Where a probe's machine has its folder: what is in there is cleared away after a crash. */
  readonly instancesFolder: string
  /** The runtime whose image a probe boots; null when this node has none. */
  readonly probeBuild: () => RuntimeBuild | null
  /** Accelerators that are not to be tried, and why: the operator refuses them, or they failed a moment ago. */
  readonly refused?: Readonly<Partial<Record<Accelerator, string>>>
  /** For a machine on which a guest takes longer to boot than on most. */
  readonly trialMsMax?: Readonly<Partial<Record<Accelerator, number>>>
}

export const memoryClassesMib = [128, 256, 512, 1024, 2048] as const

/** A machine is killed and its files removed in some ms. */
const undoMsMax = 5_000

/** Instances as microVMs: `vmm` makes machines, this boots a guest in them and speaks to its init.
 *  A machine has two drives (root image, code image), one network interface and three channels; docs/guides/microvms.md draws boot and restore. */
export class VmDriver implements Driver {
  readonly name: string
  readonly #options: VmDriverOptions
  readonly #alive = new Map<string, VmSandbox>()
  readonly #waiting = new Set<WaitingVmm>()
  readonly #loaded = new Map<string, Promise<void>>()
  readonly #trials: Trials
  readonly #makings: Makings
  readonly #wakings = new Wakings()

  constructor(options: VmDriverOptions) {
    this.#options = options
    this.name = options.vmm.name
    this.#makings = new Makings(options.logger)
    const { vmm, refused = {}, trialMsMax: bootMsMax = {} } = options
    this.#trials = new Trials({ vmm, refused, bootMsMax, boot: async (limitMs) => this.#tryBoot(limitMs) })
  }

  get capabilities(): Capabilities {
    return {
      snapshots: true,
      pause: true,
      isVm: true,
      codeForm: 'image',
      memoryClassesMib,
      vmm: this.#trials.facts,
      enforced: this.#options.enforced,
    }
  }

  /** Boots a guest on each accelerator until one answers: /dev/kvm can be there and hang. */
  async probe(): Promise<ProbeResult> {
    const tried = await this.#trials.all()
    return { ...tried, capabilities: this.capabilities }
  }

  /** Boots a guest on `accelerator`, once; the driver stays with the one that worked. Throws driver_failed and capacity when there is nothing to boot. */
  async try(accelerator: Accelerator): Promise<Tried> {
    return this.#trials.one(accelerator)
  }

  async boot(spec: BootSpec, options: { signal?: AbortSignal; deadlineMs: number }): Promise<Sandbox> {
    return this.#makings.run(spec.instanceId, options, (undo) => this.#boot(spec, undo))
  }

  async snapshotKey({ runtime, memoryMib, codeImage }: SnapshotSpec): Promise<SnapshotKey> {
    const { vmm, images } = this.#options
    const [kernel, image, own] = [await images.kernel(), await images.runtimeImage(runtime), await vmm.key()]
    return {
      ...own,
      kernel: kernel.digest,
      acpi: kernel.needsAcpi ? 'on' : 'off',
      guest: image.guest,
      image: image.digest,
      contract: runtime.isBridged ? 'bridge' : 'shim',
      memory: `${memoryMib} MiB`,
      // By its digest: the data folder may move.
      code: codeImage === null ? 'none' : basename(codeImage, '.erofs'),
    }
  }

  async snapshot(
    sandbox: Sandbox,
    { folder, kind, key }: { folder: string; kind: SnapshotKind; key: SnapshotKey },
  ): Promise<Snapshot> {
    if (!(sandbox instanceof VmSandbox)) throw new AppError('driver_failed', 'Only a microVM can be saved.')
    try {
      await sandbox.save()
      const memory = await stat(join(folder, 'memory'))
      const state = await stat(join(folder, 'state'))
      const snapshot: Snapshot = {
        id: `s-${randomBytes(8).toString('hex')}`,
        driver: this.name,
        kind,
        key,
        folder,
        memoryMib: sandbox.memoryMib,
        bytes: memory.blocks * 512 + state.size,
        createdAt: Date.now(),
      }
      await writeFile(join(folder, 'snapshot.json'), `${JSON.stringify(snapshot)}\n`, { mode: 0o600, flush: true })
      return snapshot
    } catch (error) {
      await sandbox.kill()
      await rm(folder, { recursive: true, force: true })
      throw error
    }
  }

  async restore(
    snapshot: Snapshot,
    spec: RestoreSpec,
    options: { signal?: AbortSignal; deadlineMs: number },
  ): Promise<Sandbox> {
    return this.#makings.run(spec.instanceId, options, (undo) => this.#restore(snapshot, spec, undo))
  }

  async prespawn(snapshot: Snapshot, spec: Omit<RestoreSpec, 'prespawned' | 'epoch'>): Promise<Prespawned> {
    const { vmm, images } = this.#options
    if (vmm.prespawn === undefined)
      throw new AppError('driver_failed', `${vmm.name} cannot start a machine ahead of its state.`)
    await this.#load(snapshot)
    const root = await images.runtimeImage(spec.runtime)
    checkSnapshotImage(snapshot, root)
    const codeImage = spec.codeImage ?? (await images.placeholder()).path
    const { instanceId } = spec
    const spare = await vmm.prespawn({ instanceId, rootImage: root.path, codeImage, snapshot })
    const waiting = new WaitingVmm(snapshot.id, spare)
    this.#waiting.add(waiting)
    void waiting.ended.then(() => this.#waiting.delete(waiting))
    return waiting
  }

  async forgetSnapshot(snapshot: Snapshot): Promise<void> {
    if (!this.#loaded.delete(snapshot.id)) return
    await this.#options.vmm.forget(snapshot)
  }

  async recover(
    handle: Sandbox['handle'],
    spec: RecoverSpec,
    options: { signal?: AbortSignal; deadlineMs: number },
  ): Promise<Sandbox | null> {
    const state = parseVmState(handle.state, this.#vmm)
    const { refused = {} } = this.#options
    checkAccelerator(state, { refused, here: this.#trials.facts?.accelerator ?? null })
    const held = this.#alive.get(state.instance)
    if (held !== undefined) return held
    const within = { ...options, verb: 'take over' }
    const machine = await this.#makings.run(state.instance, within, (undo) => this.#hold(state, spec, undo))
    if (machine === null) return null
    const heldAtMs = Date.now()
    let endTurn = (): void => {}
    try {
      endTurn = await this.#wakings.turn(options.signal)
      // Others' turns are not its own time.
      const deadlineMs = options.deadlineMs + Date.now() - heldAtMs
      return await this.#makings.run(state.instance, { ...within, deadlineMs }, () => this.#wake(machine, state, spec))
    } catch (error) {
      await machine.kill()
      throw error
    } finally {
      endTurn()
    }
  }

  async usage(): Promise<MachinesUsage> {
    return totalUsage([...this.#alive.values()])
  }

  async close(): Promise<void> {
    this.#makings.stop()
    const all = [...this.#alive.values(), ...this.#waiting]
    await Promise.all(all.map((machine) => machine.kill().catch(() => {})))
    // What is called off ends by its own undo, which needs the launcher.
    await this.#makings.settled(undoMsMax)
  }

  get #vmm(): string {
    const { vmm } = this.#options
    return `${vmm.name} ${vmm.version}`
  }

  /** First of all, so that no sweep takes it and no other machine gets its uid. */
  async #hold(state: VmState, { runtime }: RecoverSpec, undo: Undo): Promise<Machine | null> {
    const { vmm, images } = this.#options
    const machine = await vmm.recover(state, (name, step) => undo.add(name, step))
    if (machine !== null) checkImage(state, await images.runtimeImage(runtime))
    return machine
  }

  async #wake(machine: Machine, state: VmState, { epoch }: RecoverSpec): Promise<VmSandbox> {
    const { instance: instanceId, memoryMib, hasCode, vmm, accelerator, image } = state
    const link = await wake(machine, { instanceId, epoch })
    const made = { vmm, accelerator, image }
    const sandbox = { machine, driver: this.name, made, memoryMib, hasCode, folder: null }
    return this.#adopt(instanceId, new VmSandbox({ ...sandbox, ...link, instanceId, logger: this.#options.logger }))
  }

  async #boot(spec: BootSpec, undo: Undo): Promise<VmSandbox> {
    const { vmm, images } = this.#options
    const { instanceId, epoch, folder, memoryMib, isForSnapshot, runtime } = spec
    // 1. What it boots from; known after the first time.
    const [kernel, image, code] = [
      await images.kernel(),
      await images.runtimeImage(runtime),
      await images.placeholder(),
    ]
    // 2. The machine.
    await mkdir(folder, { recursive: true, mode: 0o700 })
    const saveTo = isForSnapshot ? { memory: join(folder, 'memory'), state: join(folder, 'state') } : null
    if (!isForSnapshot) undo.add('folder', () => rm(folder, { recursive: true, force: true }))
    const machine = await vmm.boot(
      {
        instanceId,
        kernel,
        rootImage: image.path,
        codeImage: code.path,
        memoryMib: memoryMib + vmOverheadMib,
        epoch,
        saveTo,
      },
      (name, step) => undo.add(name, step),
    )
    // 3. Its init, which starts the runtime.
    const link = await greet(machine, { instanceId, epoch, runtime: image.runtime, memoryMib })
    const made = { vmm: this.#vmm, accelerator: vmm.accelerator, image: image.digest }
    const kept = isForSnapshot ? null : folder
    const sandbox = { machine, driver: this.name, made, memoryMib, hasCode: false, folder: kept }
    return this.#adopt(instanceId, new VmSandbox({ ...sandbox, ...link, instanceId, logger: this.#options.logger }))
  }

  async #restore(snapshot: Snapshot, spec: RestoreSpec, undo: Undo): Promise<VmSandbox> {
    const { vmm, images } = this.#options
    const { instanceId, epoch, runtime, codeImage, prespawned } = spec
    await this.#load(snapshot)
    const image = await images.runtimeImage(runtime)
    checkSnapshotImage(snapshot, image)
    const code = codeImage ?? (await images.placeholder()).path
    const spare = prespawned instanceof WaitingVmm && prespawned.snapshotId === snapshot.id ? prespawned.take() : null
    const machine = await vmm.restore(
      { instanceId, rootImage: image.path, codeImage: code, snapshot },
      spare,
      (name, step) => undo.add(name, step),
    )
    const link = await resume(machine, { instanceId, epoch })
    const { memoryMib } = snapshot
    const made = { vmm: this.#vmm, accelerator: vmm.accelerator, image: image.digest }
    const sandbox = { machine, driver: this.name, made, memoryMib, hasCode: codeImage !== null, folder: null }
    return this.#adopt(instanceId, new VmSandbox({ ...sandbox, ...link, instanceId, logger: this.#options.logger }))
  }

  /** What a machine boots from; the first time a kernel is fetched and an image built, which is not the machine's own time. */
  async #prepareFiles(runtime: RuntimeBuild): Promise<void> {
    const { images } = this.#options
    await Promise.all([images.kernel(), images.runtimeImage(runtime), images.placeholder()])
  }

  /** Whether a guest's init and runtime speak in time. */
  async #tryBoot(limitMs: number): Promise<Tried> {
    const runtime = this.#options.probeBuild()
    if (runtime === null) return { failure: 'there is no runtime to boot a guest with' }
    await this.#prepareFiles(runtime)
    const instanceId = `probe-${randomBytes(6).toString('hex')}`
    const folder = join(this.#options.instancesFolder, instanceId)
    const spec = { instanceId, epoch: randomBytes(16).toString('hex'), runtime, folder, isForSnapshot: false }
    const startedMs = performance.now()
    try {
      const deadlineMs = Date.now() + limitMs
      const sandbox = await this.boot({ ...spec, memoryMib: memoryClassesMib[1] }, { deadlineMs })
      const bootMs = Math.round(performance.now() - startedMs)
      await sandbox.kill()
      return { bootMs }
    } catch (error) {
      const isLate = error instanceof AppError && error.code === 'timeout'
      if (isLate) return { failure: `no guest answered within ${Math.round(limitMs / 1000)} s` }
      return { failure: error instanceof Error ? error.message : String(error) }
    } finally {
      await rm(folder, { recursive: true, force: true })
    }
  }

  #load(snapshot: Snapshot): Promise<void> {
    const known = this.#loaded.get(snapshot.id)
    if (known !== undefined) return known
    const loading = this.#options.vmm.load(snapshot)
    this.#loaded.set(snapshot.id, loading)
    loading.catch(() => this.#loaded.delete(snapshot.id))
    return loading
  }

  #adopt(instanceId: string, sandbox: VmSandbox): VmSandbox {
    this.#alive.set(instanceId, sandbox)
    void sandbox.exited.then(() => this.#alive.delete(instanceId))
    return sandbox
  }
}
