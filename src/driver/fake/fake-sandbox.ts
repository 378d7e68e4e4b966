import assert from 'node:assert'
import type { Duplex } from 'node:stream'
import type { Clock, Timer } from '../../domain/clock.ts'
import type { BindSpec, BootSpec, BoundFiles, Exit, Sandbox, Usage } from '../../domain/driver.ts'
import { AppError } from '../../domain/error.ts'
import { GuestPeer } from '../guest-peer.ts'
import type { FakeFaults } from './faults.ts'
import { FakeRuntime, type FakeHandler } from './fake-runtime.ts'

/** Turns of the event loop by which raw output is late. */
const lateTurns = 5

export interface FakeSandboxOptions {
  readonly spec: BootSpec
  /** An earlier host's invocation still runs in it. */
  readonly isBusy: boolean
  readonly faults: FakeFaults
  readonly clock: Clock
  readonly handler: FakeHandler
  readonly random: () => number
  readonly host: { runtime: Duplex; supervisor: Duplex }
  readonly guest: { runtime: Duplex; supervisor: Duplex }
  /** Throws capacity. */
  readonly reserve: (bind: BindSpec) => void
}

export class FakeSandbox implements Sandbox {
  readonly channels: { runtime: Duplex; supervisor: Duplex }
  readonly handle: Sandbox['handle']
  readonly networkMs: number
  readonly exited: Promise<Exit>
  /** What was asked of it, in order: `bind pause resume kill stats`. */
  readonly calls: string[] = []
  readonly supervisor: GuestPeer
  isPaused = false
  boundMib = 0
  readonly #options: FakeSandboxOptions
  readonly #runtime: FakeRuntime | null
  #end: (exit: Exit) => void = () => {}
  #exit: Exit | null = null
  #crash: Timer | null = null
  #resumes = 0
  #heldBytes: number | null = null
  #peakBytes = 0
  #ephemeralBytes = 0

  constructor(options: FakeSandboxOptions) {
    this.#options = options
    const { spec, faults, clock, guest } = options
    this.channels = options.host
    this.handle = { driver: 'fake', version: 1, state: { instance: spec.instanceId } }
    this.networkMs = faults.networkMs ?? 0
    this.exited = new Promise((resolve) => (this.#end = resolve))
    const about = { epoch: spec.epoch, runtime: spec.runtime.id, version: spec.runtime.version }
    this.supervisor = new GuestPeer(guest.supervisor, { ...about, role: 'supervisor', handlers: {} })
    this.#runtime =
      faults.muteBoot === true
        ? null
        : new FakeRuntime(guest.runtime, {
            ...about,
            instanceId: spec.instanceId,
            isBusy: options.isBusy,
            clock,
            faults,
            handler: options.handler,
            random: options.random,
            exit: (exit) => this.crash(exit),
            logRaw: (text) => this.#logRaw(text),
            hold: (bytes) => this.#hold(bytes),
            onReady: () => this.#crashLater(),
          })
  }

  /** The runtime's end of the protocol, for tests that speak it by hand. */
  get peer(): GuestPeer {
    assert(this.#runtime !== null, 'a mute runtime has no peer')
    return this.#runtime.peer
  }

  get isBusy(): boolean {
    return this.#runtime?.isBusy === true
  }

  /** Its host is gone, it is not: what it was made from. */
  leave(): BootSpec {
    this.#runtime?.stop()
    this.#crash?.cancel()
    this.#exit = { code: null, signal: 'SIGKILL', oom: false, isLost: true }
    this.#end(this.#exit)
    return this.#options.spec
  }

  async bind(spec: BindSpec): Promise<BoundFiles> {
    this.calls.push('bind')
    const { faults } = this.#options
    this.#options.reserve(spec)
    if (faults.hangOnBind === true) await new Promise(() => {})
    if (faults.failBind !== undefined)
      throw new AppError('driver_failed', `Cannot bind instance "${this.#id}": step "${faults.failBind}" failed.`)
    this.boundMib = spec.memoryMib
    const files = { taskRoot: spec.codeFolder, cacheRoot: spec.cacheFolder }
    return spec.network === 'egress' ? { ...files, networkMs: faults.networkMs ?? 0 } : files
  }

  async pause(): Promise<void> {
    this.calls.push('pause')
    if (this.#options.faults.failPause === true)
      throw new AppError('driver_failed', `Cannot pause instance "${this.#id}".`)
    this.isPaused = true
    this.#options.guest.runtime.pause()
    const resumes = this.#resumes
    const { pauseMs = 0 } = this.#options.faults
    if (pauseMs > 0) await new Promise<void>((resolve) => this.#options.clock.schedule(pauseMs, resolve))
    if (this.#resumes !== resumes)
      throw new AppError('driver_failed', `Instance "${this.#id}" was resumed before it was paused.`)
  }

  async resume(): Promise<void> {
    this.calls.push('resume')
    this.isPaused = false
    this.#resumes++
    this.#options.guest.runtime.resume()
  }

  async kill(): Promise<Exit> {
    this.calls.push('kill')
    this.crash({ code: null, signal: 'SIGKILL', oom: false })
    return this.exited
  }

  async stats({ resetPeak = false }: { resetPeak?: boolean } = {}): Promise<Usage> {
    this.calls.push('stats')
    const { ephemeralFull = false, hangOnStats, exitOnStats, hostBytes } = this.#options.faults
    if (hangOnStats === true) await new Promise(() => {})
    if (exitOnStats !== undefined) this.crash(exitOnStats)
    const memoryBytes = this.#memoryBytes
    const memoryPeakBytes = Math.max(this.#peakBytes, memoryBytes)
    if (resetPeak) this.#peakBytes = 0
    const ephemeral = { ephemeralBytes: this.#ephemeralBytes, ephemeralFull }
    return { memoryBytes, memoryPeakBytes, cpuMs: 1, ...ephemeral, ...(hostBytes !== undefined && { hostBytes }) }
  }

  get #memoryBytes(): number {
    return this.#heldBytes ?? this.#options.faults.memoryBytes ?? 40 * 2 ** 20
  }

  #hold({
    memory = this.#memoryBytes,
    ephemeral = this.#ephemeralBytes,
  }: {
    memory?: number
    ephemeral?: number
  }): void {
    this.#heldBytes = memory
    this.#ephemeralBytes = ephemeral
    this.#peakBytes = Math.max(this.#peakBytes, memory)
  }

  /** Ends it as the kernel would; the first reason counts. */
  crash(exit: Exit): void {
    if (this.#exit !== null) return
    this.#exit = exit
    this.#crash?.cancel()
    this.#runtime?.stop()
    // What was said before still arrives, as it does over a socket.
    this.#runtime?.peer.close()
    this.supervisor.close()
    this.#end(exit)
  }

  /** As a supervisor does that gets its turn late: what the runtime says meanwhile overtakes it, what is asked of itself waits behind it. */
  #logRaw(text: string): void {
    const { supervisor } = this.#options.guest
    supervisor.cork()
    this.supervisor.log(0, 1, text)
    void (async () => {
      for (let turn = 0; turn < lateTurns; turn++) await new Promise((resolve) => setImmediate(resolve))
      supervisor.uncork()
    })()
  }

  get #id(): string {
    return this.#options.spec.instanceId
  }

  #crashLater(): void {
    const { crashAfterMs } = this.#options.faults
    if (crashAfterMs === undefined) return
    this.#crash = this.#options.clock.schedule(crashAfterMs, () =>
      this.crash({ code: null, signal: 'SIGSEGV', oom: false }),
    )
  }
}
