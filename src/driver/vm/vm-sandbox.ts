import { rm } from 'node:fs/promises'
import type { BindSpec, BoundFiles, Exit, Sandbox, SandboxChannels, Usage } from '../../domain/driver.ts'
import { AppError } from '../../domain/error.ts'
import type { Logger } from '../../domain/logger.ts'
import type { InitLink } from '../../wire/init-link.ts'
import { pidsMax, type Guest } from './handshake.ts'
import type { Accelerator, Machine } from './vmm.ts'

/** VMM and version, what runs its processor, and the digest of the root image, which holds init and runtime. */
export interface MadeWith {
  readonly vmm: string
  readonly accelerator: Accelerator
  readonly image: string
}

export interface VmSandboxOptions extends Guest {
  readonly instanceId: string
  readonly machine: Machine
  readonly driver: string
  /** What an agent that recovers it must have as well. */
  readonly made: MadeWith
  /** Size class. */
  readonly memoryMib: number
  /** The snapshot it comes from had its code mounted. */
  readonly hasCode: boolean
  /** Removed with it; null when it holds what is to stay. */
  readonly folder: string | null
  readonly logger: Logger
}

/** A guest that said how its runtime ended powers off by itself; after this long it is helped. */
const powerOffMsMax = 2_000

/** One microVM with a runtime in it. */
export class VmSandbox implements Sandbox {
  readonly channels: SandboxChannels
  readonly exited: Promise<Exit>
  readonly memoryMib: number
  readonly #options: VmSandboxOptions
  readonly #init: InitLink
  readonly #machine: Machine
  #hasCode: boolean
  #isKilled = false
  #killing: Promise<Exit> | null = null

  constructor(options: VmSandboxOptions) {
    const { machine, init, channels, memoryMib } = options
    this.#options = options
    this.#machine = machine
    this.#init = init
    this.#hasCode = options.hasCode
    this.channels = channels
    this.memoryMib = memoryMib
    this.exited = this.#watch()
  }

  get handle(): Sandbox['handle'] {
    const { machine, instanceId, driver, memoryMib, made } = this.#options
    const state = { ...machine.state, instance: instanceId, memoryMib, ...made, hasCode: this.#hasCode }
    return { driver, version: 1, state }
  }

  async bind(spec: BindSpec): Promise<BoundFiles> {
    if (spec.codeImage === null)
      throw new AppError('driver_failed', `Instance "${this.#options.instanceId}" takes its code as an image.`)
    const [network] = await Promise.all([
      spec.network === 'egress' ? this.#machine.connectNetwork() : null,
      this.#hasCode ? null : this.#machine.setCode(spec.codeImage),
    ])
    this.#hasCode = true
    await this.#init.bind({
      hasCode: true,
      rootUser: spec.rootUser ?? null,
      memoryMib: spec.memoryMib,
      tmpMib: spec.ephemeralMib,
      pidsMax,
      network,
    })
    return { taskRoot: '/var/task', cacheRoot: spec.cacheFolder === null ? null : '/var/cache/hearth' }
  }

  pause(): Promise<void> {
    return this.#machine.pause()
  }

  /** The guest's clock stood still meanwhile: what is sent to the runtime from now on waits here until it is set. */
  async resume(): Promise<void> {
    const { runtime } = this.channels
    runtime.cork()
    try {
      await this.#machine.resume()
      await this.#init.syncClock()
    } finally {
      runtime.uncork()
    }
  }

  kill(): Promise<Exit> {
    this.#isKilled = true
    this.#killing ??= this.#machine.kill().then(() => this.exited)
    return this.#killing
  }

  async stats({ resetPeak = false }: { resetPeak?: boolean } = {}): Promise<Usage> {
    const [stats, hostBytes] = await Promise.all([
      this.#init.stats({ resetPeak }),
      // Without it what the guest says counts, as where the launcher is about to go.
      this.#machine.memoryBytes().catch(() => 0),
    ])
    return {
      hostBytes,
      memoryBytes: stats.memoryBytes,
      memoryPeakBytes: Math.max(stats.memoryBytes, stats.memoryPeakBytes),
      cpuMs: stats.cpuMs,
      ephemeralBytes: stats.tmpBytes,
      ephemeralFull: stats.tmpFull,
    }
  }

  /** Null when it goes meanwhile. */
  async hostUsage(): Promise<Awaited<ReturnType<Machine['usage']>> | null> {
    return this.#machine.usage().catch(() => null)
  }

  /** Makes the guest quiet and writes the machine to the files named at its boot; it is gone then. */
  async save(): Promise<void> {
    await this.#init.prepareSnapshot()
    this.#isKilled = true
    await this.#machine.save()
    await this.exited
  }

  /** Resolves when the VMM is gone: with what the guest said of its runtime, if it did. */
  async #watch(): Promise<Exit> {
    const { machine, ended, folder } = this.#options
    const said = await Promise.race([ended, machine.exited.then(() => null)])
    if (said !== null) {
      const timer = setTimeout(() => void machine.kill().catch(() => {}), powerOffMsMax)
      await machine.exited
      clearTimeout(timer)
    }
    const own = await machine.exited
    this.#init.close()
    for (const channel of [this.channels.runtime, this.channels.supervisor]) channel?.destroy()
    if (own.isLost === true) return own
    if (folder !== null) await rm(folder, { recursive: true, force: true })
    if (said !== null) return { code: said.code, signal: said.signal, oom: said.oom }
    // Not a word from the guest: it was killed, its kernel died (the VMM then exits with 0), or the VMM did.
    if (this.#isKilled) return { code: null, signal: 'SIGKILL', oom: false }
    const { instanceId, driver, logger } = this.#options
    const words = await machine.lastWords()
    logger.warn('vm.lost', { instanceId, driver, code: own.code, signal: own.signal, oom: own.oom, words })
    return { code: null, signal: own.signal ?? 'SIGABRT', oom: own.oom }
  }
}
