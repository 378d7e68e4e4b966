import type { Exit, Sandbox } from '../domain/driver.ts'
import type { InstanceInfo, InstanceState } from '../domain/instance.ts'
import type { FunctionError } from '../domain/invocation.ts'
import type { RuntimeBuild } from '../domain/runtime.ts'
import { versionKey, type Version } from '../domain/function.ts'
import { HostLink, type InvokeStream } from '../wire/link.ts'
import { WireError } from '../wire/wire-error.ts'
import type { Death } from './failures.ts'
import type { Execution } from './execution.ts'
import type { Freeze } from './freezing.ts'
import type { InstanceFrom, InstanceOptions } from './instance-options.ts'
import { InstanceUsage } from './instance-usage.ts'
import type { FunctionLog } from './logs/function-log.ts'
import { LogIntake } from './logs/log-intake.ts'
import type { StreamCode } from './logs/log-line.ts'
import { RawOutput } from './raw-output.ts'
import type { TimedPhase } from './start-phases.ts'

/** Who an Instance belongs to now: the pool, then a start, then its Version's group. */
export interface InstanceOwner {
  onLoaded(instance: Instance, loadMs: number): void
  onLoadFailed(instance: Instance, error: FunctionError & { phase: string }): void
  /** It ended without being asked. An execution it ran has been told already. */
  onDead(instance: Instance, death: Death): void
  /** waitUntil work came to its end. */
  onQuiet(instance: Instance): void
}

/** A runtime that ended its channel gets this long to end by itself, so that its own exit is reported. */
const exitGraceMs = 1_000
/** After an exit its last frames may still be on their way. */
const lastFramesMs = 200
/** How long to wait for the answer to a PING that orders things. */
const barrierMsMax = 250
/** Output before BIND is kept for the message of a failed start. */
const bootOutputChars = 4_096

/** One sandbox and the two links into it. Life: domain/instance.ts. */
export class Instance {
  readonly id: string
  readonly from: InstanceFrom
  readonly build: RuntimeBuild
  readonly sandbox: Sandbox
  readonly link: HostLink
  readonly createdAt: number
  readonly hello: Promise<void>
  /** Resolves when it can be spoken to no more. */
  readonly dead: Promise<void>
  state: InstanceState = 'booting'
  owner: InstanceOwner | null = null
  version: Version | null = null
  bootPhases: TimedPhase[] = []
  /** What runs now, with the stream of each. */
  readonly running = new Map<Execution, number>()
  /** Monotonic ms: when its program last gave a result of its own. */
  answeredMs = -1
  /** Invocations that ended with waitUntil work still open. */
  openWork = 0
  openWorkSinceMs = 0
  invocations = 0
  lastUsedAt: number
  idleSinceMs = 0
  /** It must not serve another invocation. */
  isRetired = false
  /** Of the secrets it was bound with; empty when it has none. */
  secretsStamp = ''
  /** Taken over from an earlier agent, whose invocation still ran. */
  wasBusy = false
  /** The one that holds. */
  freeze: Freeze | null = null
  chargedMib = 0
  readonly usage: InstanceUsage
  bootOutput = ''
  readonly #options: InstanceOptions
  readonly #supervisor: HostLink | null
  readonly #intake: LogIntake
  readonly #rawOutput: RawOutput | null
  readonly #ended = Promise.withResolvers<void>()
  /** Stream id -> invocation id, of invocations whose output may still come. */
  readonly #lingering = new Map<number, string>()
  #log: FunctionLog | null = null
  #isLinkClosed = false
  #isResting = false
  #exit: Exit | null = null
  #killed: Promise<Exit> | null = null
  #greet: { resolve: () => void; reject: (error: Error) => void } = { resolve: () => {}, reject: () => {} }

  constructor(options: InstanceOptions) {
    this.#options = options
    const { id, epoch, build, sandbox, clock } = options
    this.id = id
    this.from = options.from
    this.build = build
    this.sandbox = sandbox
    this.dead = this.#ended.promise
    this.createdAt = options.takenOver?.createdAt ?? clock.nowMs()
    this.lastUsedAt = clock.nowMs()
    this.hello = new Promise((resolve, reject) => (this.#greet = { resolve, reject }))
    // Whoever boots it waits for it; after that a rejection has no reader.
    this.hello.catch(() => {})
    this.#intake = new LogIntake({
      clock,
      bytesPerSecond: options.logBytesPerSecond,
      emit: (code, invocation, text) => this.#emit(code, invocation, text),
      rest: (ms) => this.#rest(ms),
    })
    this.usage = new InstanceUsage({
      clock,
      stats: () => sandbox.stats({ resetPeak: true }),
      consumers: () => [...this.running.keys()].map(({ use }) => use),
      failed: (error) => options.logger.debug('instance.stats.failed', { instanceId: id, error: String(error) }),
    })
    const isTakenOver = options.takenOver !== undefined
    const link = { epoch, isTakenOver }
    this.link = new HostLink(sandbox.channels.runtime, { ...link, role: 'runtime', handlers: this.#runtimeHandlers() })
    const { supervisor } = sandbox.channels
    this.#supervisor =
      supervisor === null
        ? null
        : new HostLink(supervisor, { ...link, role: 'supervisor', handlers: this.#supervisorHandlers() })
    this.#rawOutput = this.#supervisor === null ? null : this.#rawOutputOf(this.#supervisor)
    void sandbox.exited.then((exit) => this.#onExited(exit))
  }

  get isDead(): boolean {
    return this.state === 'dead'
  }

  /** Its runtime can still be spoken to. One whose channel has ended is as good as dead, though its exit is not known yet. */
  get isReachable(): boolean {
    return !this.isDead && !this.#isLinkClosed
  }

  /** From now on it belongs to `version`, and its output to that function's log. */
  bindTo(version: Version, log: FunctionLog): void {
    this.version = version
    this.#log = log
    this.state = 'binding'
  }

  /** Hands `execution` over: the INVOKE frame leaves with the rest of this tick, or when the raw output of the one before is in. */
  invoke(execution: Execution): InvokeStream {
    this.invocations++
    this.usage.isStale = true
    const { invocationId, deadline, contentType, traceparent, http, wantLogTail } = execution.request
    this.#rawOutput?.begin(invocationId, { isAlone: this.running.size === 0, isPrivate: wantLogTail })
    const message = { id: invocationId, deadlineMs: deadline, contentType, traceparent, kind: 'invoke' } as const
    const stream = this.link.invoke(http === undefined ? message : { ...message, http }, execution)
    this.running.set(execution, stream.id)
    return stream
  }

  /** `execution` has its result. */
  settle(execution: Execution, hasOpenWork: boolean): void {
    const stream = this.running.get(execution)
    if (stream === undefined) return
    this.#intake.flush('language')
    this.running.delete(execution)
    if (this.running.size === 0) this.#rawOutput?.end()
    this.idleSinceMs = this.#options.clock.monotonicMs()
    this.lastUsedAt = this.#options.clock.nowMs()
    if (!hasOpenWork) return
    this.#lingering.set(stream, execution.request.invocationId)
    this.openWork++
    this.openWorkSinceMs = this.idleSinceMs
  }

  workDone(invocationId: string): void {
    for (const [stream, id] of this.#lingering) if (id === invocationId) this.#lingering.delete(stream)
    this.#intake.flush()
    this.openWork--
    if (this.openWork > 0 || this.isDead) return
    if (this.running.size === 0) this.idleSinceMs = this.#options.clock.monotonicMs()
    this.owner?.onQuiet(this)
  }

  /** Resolves when all output written before has come in, or after a short while. */
  async outputBarrier(): Promise<void> {
    await this.#rawOutput?.settled(this.running.size === 1)
  }

  /** Resolves when the runtime has shown that it is alive or that it is not, or after a short while without a sign. */
  async aliveBarrier(): Promise<void> {
    await this.#barrier(this.link)
  }

  /** Shows held output now. */
  flushOutput(): void {
    this.#intake.flush('language')
  }

  /** Ends it with everything in it. Safe to call twice; the owner is not told, since it asked. Never rejects. */
  kill(): Promise<Exit> {
    this.#markDead()
    this.#killed ??= this.sandbox.kill().catch((error: unknown) => {
      this.#options.logger.error('instance.kill.failed', { instanceId: this.id, error: String(error) })
      return { code: null, signal: null, oom: false }
    })
    return this.#killed
  }

  info(): InstanceInfo {
    return {
      id: this.id,
      node: this.#options.node,
      driver: this.from.record.driver,
      runtime: this.build.id,
      state: this.state,
      version: this.version === null ? null : versionKey(this.version),
      createdAt: this.createdAt,
      lastUsedAt: this.lastUsedAt,
      invocations: this.invocations,
      memoryMib: this.version?.config.memoryMib ?? this.chargedMib,
    }
  }

  #rawOutputOf(supervisor: HostLink): RawOutput {
    return new RawOutput({
      drained: () => this.#barrier(supervisor),
      hold: () => this.link.hold(),
      release: () => this.link.release(),
      flush: () => this.#intake.flush('raw'),
      sinceEndMs: () => this.#options.clock.monotonicMs() - this.idleSinceMs,
    })
  }

  /** False when no answer came in time. */
  async #barrier(link: HostLink): Promise<boolean> {
    if (this.isDead) return false
    const answer = Promise.withResolvers<boolean>()
    const timer = this.#options.clock.schedule(barrierMsMax, () => answer.resolve(false))
    link.ping().then(
      () => answer.resolve(true),
      () => answer.resolve(false),
    )
    return answer.promise.finally(() => timer.cancel())
  }

  #runtimeHandlers(): ConstructorParameters<typeof HostLink>[1]['handlers'] {
    const { id, clock, logBytesPerSecond } = this.#options
    return {
      onHello: ({ isBusy }) => {
        this.wasBusy = isBusy
        this.link.configure({ instance: id, nowMs: clock.nowMs(), logBytesPerSecond })
        this.#greet.resolve()
      },
      onReady: ({ loadMs }) => this.owner?.onLoaded(this, loadMs),
      onInitFail: (error) => this.owner?.onLoadFailed(this, error),
      onLog: (stream, fd, text) => this.#intake.write(text, { fd, isRaw: false, invocation: this.#idOf(stream) }),
      onOpen: (service, stream) => this.#options.openService(service, this, stream),
      onClosed: (error) => this.#onLinkClosed(error),
    }
  }

  #supervisorHandlers(): ConstructorParameters<typeof HostLink>[1]['handlers'] {
    const { id, clock, logBytesPerSecond } = this.#options
    const breach = (what: string): void => this.#die({ exit: null, breach: `${what} on the supervisor's channel` })
    return {
      onHello: () => this.#supervisor?.configure({ instance: id, nowMs: clock.nowMs(), logBytesPerSecond }),
      onReady: () => breach('READY'),
      onInitFail: () => breach('FAIL'),
      onLog: (_stream, fd, text) =>
        this.#intake.write(text, { fd, isRaw: true, invocation: this.#rawOutput?.ownerNow() ?? null }),
      onOpen: (service, stream) => this.#options.openService(service, this, stream),
      onClosed: (error) => {
        if (error instanceof WireError) this.#die({ exit: null, breach: error.message })
      },
    }
  }

  #idOf(stream: number): string | null {
    for (const [execution, id] of this.running) if (id === stream) return execution.request.invocationId
    return this.#lingering.get(stream) ?? null
  }

  #emit(code: StreamCode, invocation: string | null, text: string): void {
    if (this.#log === null) {
      this.bootOutput = `${this.bootOutput}${text}\n`.slice(-bootOutputChars)
      return
    }
    this.#log.append(this.#options.clock.nowMs(), code, { invocation, instance: this.id, text })
    for (const execution of this.running.keys())
      if (execution.request.invocationId === invocation) execution.noteLine(text)
  }

  #rest(ms: number): void {
    if (this.#isResting) return
    this.#isResting = true
    const links = this.#supervisor === null ? [this.link] : [this.link, this.#supervisor]
    for (const link of links) link.pauseReading()
    this.#options.clock.schedule(ms, () => {
      this.#isResting = false
      for (const link of links) link.resumeReading()
    })
  }

  #onLinkClosed(why: WireError | Error | null): void {
    this.#isLinkClosed = true
    this.#greet.reject(new Error(why?.message ?? 'The runtime closed its channel.'))
    if (this.isDead) return
    if (why instanceof WireError) return this.#die({ exit: null, breach: why.message })
    if (this.#exit !== null) return this.#die({ exit: this.#exit, breach: null })
    this.#options.clock.schedule(exitGraceMs, () => {
      if (!this.isDead) void this.sandbox.kill().catch(() => {})
    })
  }

  #onExited(exit: Exit): void {
    this.#exit = exit
    this.#greet.reject(new Error(`The runtime exited with ${exit.signal ?? `status ${exit.code}`}.`))
    if (this.isDead) return
    if (this.#isLinkClosed) return this.#die({ exit, breach: null })
    this.#options.clock.schedule(lastFramesMs, () => this.#die({ exit, breach: null }))
  }

  #die(death: Death): void {
    if (this.isDead) return
    this.#intake.flush()
    const executions = [...this.running.keys()]
    void this.kill()
    for (const execution of executions) execution.onInstanceDead(death)
    this.owner?.onDead(this, death)
  }

  #markDead(): void {
    if (this.isDead) return
    this.#intake.flush()
    this.state = 'dead'
    this.link.close()
    this.#supervisor?.close()
    this.#ended.resolve()
  }
}
