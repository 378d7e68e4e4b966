import { chmod } from 'node:fs/promises'
import { join } from 'node:path'
import type { Duplex } from 'node:stream'
import type { Exit } from '../../domain/driver.ts'
import { AppError } from '../../domain/error.ts'
import type { VmProcess } from '../vm/vm-host.ts'
import type { GuestNetwork, Machine, PortName, SnapshotFiles, SpareVmm } from '../vm/vmm.ts'
import { FirecrackerApi } from './api.ts'
import { troublesIn } from './metrics.ts'
import type { PipeTail } from './pipe-tail.ts'
import { writtenPipes, type VmmPipes } from './vmm-pipes.ts'
import { connectVsock, vsockPorts } from './vsock.ts'

/** Names in the jail. Drives of a clone must be named as when its snapshot was made. */
export const names = { api: 'api.sock', vsock: 'vsock.sock', ...writtenPipes } as const
/** The jail's root in the run folder. */
export const jailLink = 'jail'

const connectMsMax = 60_000

/** A VMM in its jail that waits for a snapshot. */
export class FirecrackerSpare implements SpareVmm {
  readonly machine: RunningFirecracker
  readonly ended: Promise<unknown>

  constructor(machine: RunningFirecracker) {
    this.machine = machine
    this.ended = machine.exited
  }

  get isAlive(): boolean {
    return this.machine.isAlive
  }

  async kill(): Promise<void> {
    await this.machine.kill()
  }
}

/** A machine that runs or is paused, by its API. */
export class RunningFirecracker implements Machine {
  /** The guest itself accepts a connection. */
  readonly connectsPaused = false
  readonly api: FirecrackerApi
  readonly state: Readonly<Record<string, unknown>>
  readonly exited: Promise<Exit>
  readonly #vm: VmProcess
  readonly #gone = new AbortController()
  readonly #log: PipeTail | null
  readonly #metrics: PipeTail | null
  readonly #saveTo: SnapshotFiles | null
  /** Of log, metrics and standard error, once the VMM has ended. */
  readonly #lastWords: Promise<string>
  #codeCount = 0

  constructor(
    vm: VmProcess,
    { root, log, metrics, saveTo }: VmmPipes & { root: string; saveTo: SnapshotFiles | null },
  ) {
    this.#vm = vm
    this.#log = log
    this.#metrics = metrics
    this.#saveTo = saveTo
    this.api = new FirecrackerApi(vm.socketPath(join(jailLink, names.api)))
    this.exited = vm.exited
    this.state = { instance: vm.instanceId, uid: vm.uid, root }
    this.#lastWords = this.#end()
  }

  get isAlive(): boolean {
    return this.#vm.isAlive
  }

  /** Firecracker makes its vsock socket as its own uid: the platform may connect once the launcher gave it over. */
  async share(): Promise<void> {
    await this.#vm.share(names.vsock)
  }

  async connect(port: PortName): Promise<Duplex> {
    try {
      return await connectVsock(this.#vm.socketPath(join(jailLink, names.vsock)), vsockPorts[port], {
        deadlineMs: Date.now() + connectMsMax,
        signal: this.#gone.signal,
      })
    } catch (error) {
      throw await this.#withLog(error)
    }
  }

  async setCode(image: string): Promise<void> {
    const path = await this.#vm.place(`code-${++this.#codeCount}`, image)
    await this.api.send('PATCH /drives/code', { drive_id: 'code', path_on_host: path })
  }

  connectNetwork(): Promise<GuestNetwork> {
    return this.#vm.connectNetwork()
  }

  async pause(): Promise<void> {
    await this.api.send('PATCH /vm', { state: 'Paused' })
  }

  async resume(): Promise<void> {
    await this.api.send('PATCH /vm', { state: 'Resumed' })
  }

  async save(): Promise<void> {
    const saveTo = this.#saveTo
    if (saveTo === null)
      throw new AppError('driver_failed', `Instance "${this.#vm.instanceId}" was not booted to be saved.`)
    await this.pause()
    await this.api.send('PUT /snapshot/create', {
      snapshot_type: 'Full',
      snapshot_path: 'state',
      mem_file_path: 'memory',
    })
    await this.kill()
    // VMMs of clones have uids of their own and open both by name, to read; the folder around them keeps everybody else out.
    await Promise.all([chmod(saveTo.state, 0o644), chmod(saveTo.memory, 0o644)])
  }

  async kill(): Promise<Exit> {
    this.api.close()
    return this.#vm.kill()
  }

  memoryBytes(): Promise<number> {
    return this.#vm.memoryBytes()
  }

  async usage(): ReturnType<Machine['usage']> {
    const [memoryBytes, guestAvailableBytes] = await Promise.all([
      this.memoryBytes(),
      // A guest that tells nothing, or a VMM that is busy, leaves what the launcher knows of it.
      this.api.guestAvailableBytes().catch(() => null),
    ])
    return { memoryBytes, guestAvailableBytes }
  }

  lastWords(): Promise<string> {
    return this.#lastWords
  }

  async #end(): Promise<string> {
    await this.exited
    this.#gone.abort()
    this.api.close()
    for (const pipe of [this.#log, this.#metrics]) pipe?.close()
    // Counters as of the last time it wrote them: once a minute, and when it ends by itself.
    const [log = '', counters = ''] = [this.#log?.read(), this.#metrics?.read()]
    return [log.trim(), ...troublesIn(counters), this.#vm.stderr.trim()].filter((text) => text !== '').join('\n')
  }

  /** The same error with the end of Firecracker's log, where its own reason stands. */
  async #withLog(error: unknown): Promise<unknown> {
    if (!(error instanceof AppError)) return error
    const detail = await (this.isAlive ? (this.#log?.read() ?? '') : this.#lastWords)
    return new AppError(error.code, error.message, { cause: error, retryable: error.retryable, detail })
  }
}
