import assert from 'node:assert'
import { createHash } from 'node:crypto'
import type { Duplex } from 'node:stream'
import type { Clock } from '../../domain/clock.ts'
import type { Exit } from '../../domain/driver.ts'
import type { FunctionError } from '../../domain/invocation.ts'
import type { BindMessage } from '../../wire/messages.ts'
import { GuestPeer, type GuestInvocation } from '../guest-peer.ts'
import type { FakeFaults } from './faults.ts'

/** What a fake handler learns of its call, and what it can do beside answering. */
export interface FakeMeta {
  readonly invocationId: string
  readonly instanceId: string
  readonly bind: BindMessage
  readonly signal: AbortSignal
  log(text: string | Buffer, fd?: 1 | 2): void
  /** Output past the runtime: it comes by way of the supervisor, who is late. */
  logRaw(text: string): void
  /** The sandbox holds so much from now on. */
  hold(bytes: { memory?: number; ephemeral?: number }): void
  /** Work that goes on after the answer. */
  waitUntil(work: Promise<unknown>): void
  sleep(ms: number): Promise<void>
  /** Status and headers before the result. */
  head(status: number, headers: readonly (readonly [string, string])[]): void
  exit(exit: Exit): void
}

/** A function's code: gets the event (parsed when it is JSON), gives a value, bytes, a promise of either, or throws. */
export type FakeHandler = (event: unknown, meta: FakeMeta) => unknown

export interface FakeRuntimeOptions {
  readonly epoch: string
  readonly runtime: string
  readonly version: string
  readonly instanceId: string
  /** An earlier host's invocation still runs. */
  readonly isBusy: boolean
  readonly clock: Clock
  readonly faults: FakeFaults
  readonly handler: FakeHandler
  readonly random: () => number
  readonly exit: (exit: Exit) => void
  readonly logRaw: (text: string) => void
  readonly hold: (bytes: { memory?: number; ephemeral?: number }) => void
  readonly onReady: () => void
}

/** What the runtimes' shims do, as functions in this process. */
export class FakeRuntime {
  readonly peer: GuestPeer
  readonly #options: FakeRuntimeOptions
  #bind: BindMessage | null = null
  #isReady = false
  #early: GuestInvocation[] = []
  #isStopped = false
  #running = 0

  constructor(channel: Duplex, options: FakeRuntimeOptions) {
    this.#options = options
    const { epoch, runtime, version, isBusy } = options
    this.peer = new GuestPeer(channel, {
      epoch,
      role: 'runtime',
      runtime,
      version,
      isBusy,
      handlers: {
        onShutdown: () => {
          if (options.faults.hangOnShutdown !== true) options.exit({ code: 0, signal: null, oom: false })
        },
        onBind: (message) => this.#load(message),
        onInvoke: (invocation) => this.#take(invocation),
        onPrepareSnapshot: () => (this.peer.isMute = options.faults.hangOnSnapshot === true),
      },
    })
  }

  get isBusy(): boolean {
    return this.#running > 0 || this.#options.isBusy
  }

  stop(): void {
    this.#isStopped = true
  }

  #load(message: BindMessage): void {
    const { faults, clock } = this.#options
    this.#bind = message
    const { exitOnLoad, loadMs = 0 } = faults
    if (exitOnLoad !== undefined && exitOnLoad.times !== 0) {
      if (exitOnLoad.times !== undefined) exitOnLoad.times--
      return this.#options.exit(exitOnLoad)
    }
    if (loadMs === Infinity) return
    if (loadMs > 0) clock.schedule(loadMs, () => this.#loaded(loadMs))
    else this.#loaded(0)
  }

  #loaded(loadMs: number): void {
    if (this.#isStopped) return
    const { initError } = this.#options.faults
    if (initError !== undefined && this.#bind?.purpose === 'serve')
      return this.peer.failInit({ errorType: 'Error', errorMessage: initError, stackTrace: ['at load'] }, 'code_load')
    this.#isReady = true
    this.peer.ready(loadMs)
    this.#options.onReady()
    for (const invocation of this.#early.splice(0)) this.#take(invocation)
  }

  #take(invocation: GuestInvocation): void {
    const { faults } = this.#options
    if (!this.#isReady) {
      this.#early.push(invocation)
      return
    }
    if (invocation.message.kind === 'identity') return this.#sayIdentity(invocation)
    if (faults.protocolGarbage === true) return this.peer.raw(Buffer.from('not a frame, and long enough for one'))
    if (faults.exitOnInvoke !== undefined) return this.#options.exit(faults.exitOnInvoke)
    if (faults.hangOnInvoke === true) return void this.#running++
    if (faults.crashRate !== undefined && this.#options.random() < faults.crashRate)
      return this.#options.exit({ code: null, signal: 'SIGSEGV', oom: false })
    this.#running++
    void this.#run(invocation).finally(() => this.#running--)
  }

  #sayIdentity(invocation: GuestInvocation): void {
    const { faults, random, instanceId, clock } = this.#options
    const { clonesShare, clonesOmit, clockSkewMs = 0 } = faults
    const own = {
      ...{ randomBytes: random(), uuid: random(), randomInt: random(), mathRandom: random() },
      ...{ hostname: instanceId, env: digests(this.#bind?.env ?? {}) },
    }
    const shared = clonesShare === undefined ? {} : { [clonesShare]: 'the same' }
    const omitted = clonesOmit === undefined ? {} : { [clonesOmit]: undefined }
    const identity = { ...own, ...shared, ...omitted, nowMs: clock.nowMs() + clockSkewMs, addresses: [] }
    invocation.write(Buffer.from(JSON.stringify(identity)))
    invocation.end()
  }

  async #run(invocation: GuestInvocation): Promise<void> {
    const bind = this.#bind
    assert(bind !== null, 'READY comes after BIND')
    const work: Promise<unknown>[] = []
    let hasHead = false
    const meta: FakeMeta = {
      invocationId: invocation.message.id,
      instanceId: this.#options.instanceId,
      bind,
      signal: invocation.signal,
      log: (text, fd = 1) => invocation.log(fd, text),
      logRaw: this.#options.logRaw,
      hold: this.#options.hold,
      waitUntil: (promise) => void work.push(promise),
      sleep: (ms) => new Promise((resolve) => void this.#options.clock.schedule(ms, resolve)),
      head: (status, headers) => {
        hasHead = true
        invocation.head(status, headers)
      },
      exit: this.#options.exit,
    }
    try {
      const result = await this.#options.handler(parseEvent(invocation), meta)
      if (this.#isStopped) return
      if (result instanceof Uint8Array && !hasHead) invocation.head(200, [['content-type', 'application/octet-stream']])
      invocation.write(result instanceof Uint8Array ? result : Buffer.from(JSON.stringify(result ?? null)))
      invocation.end(work.length > 0)
    } catch (error) {
      if (!this.#isStopped) invocation.fail(describe(error), work.length > 0)
    }
    if (work.length === 0) return
    await Promise.allSettled(work)
    if (!this.#isStopped) invocation.idle()
  }
}

function digests(env: Readonly<Record<string, string>>): Record<string, string> {
  const digest = (value: string): string => createHash('sha256').update(value).digest('hex')
  return Object.fromEntries(Object.entries(env).map(([name, value]) => [name, digest(value)]))
}

function parseEvent(invocation: GuestInvocation): unknown {
  const { event } = invocation
  if (!invocation.message.contentType.includes('json')) return event
  return event.length === 0 ? {} : JSON.parse(event.toString())
}

function describe(error: unknown): FunctionError {
  if (!(error instanceof Error)) return { errorType: typeof error, errorMessage: String(error), stackTrace: [] }
  return { errorType: error.name, errorMessage: error.message, stackTrace: error.stack?.split('\n').slice(1) ?? [] }
}
