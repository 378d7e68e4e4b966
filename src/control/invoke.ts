import type { Agent, AttemptResult, ExecuteCall, ExecuteUp } from '../domain/agent.ts'
import type { Clock } from '../domain/clock.ts'
import type { InvokeReply, InvokeRequest } from '../domain/control.ts'
import { toAppError } from '../domain/error.ts'
import type { Version } from '../domain/function.ts'
import type { ColdCause, Phase, Receipt } from '../domain/invocation.ts'
import type { Logger } from '../domain/logger.ts'
import type { Admission, Candidate, FunctionGate, Rejection } from './admission.ts'
import type { Placement } from './placement.ts'
import type { Stats } from './stats.ts'
import type { VersionCache } from './versions.ts'

export interface InvokerOptions {
  readonly versions: VersionCache
  readonly admission: Admission
  readonly placement: Placement
  readonly stats: Stats
  readonly receipts: { append(receipt: Receipt): void }
  readonly clock: Clock
  readonly logger: Logger
  readonly newId: () => string
  /** Epoch ms: older Versions that are cold are so because of a restart. */
  readonly startedAt: number
}

const emptyBody = new Uint8Array(0)
const noPhases: readonly Phase[] = []
/** The consumer's credit is given back in steps, as on the wire. */
const creditStepBytes = 65_536

/** Runs invocations: version, admission, node, receipt. The warm path has no promise in it. */
export class Invoker {
  readonly options: InvokerOptions
  /** Everything accepted and not yet answered, by id. */
  readonly active = new Map<string, Run>()

  constructor(options: InvokerOptions) {
    this.options = options
  }

  invoke(request: InvokeRequest, done: (reply: InvokeReply) => void): (reason: string) => void {
    const run = new Run(this, request, done)
    this.active.set(run.id, run)
    const { caller, functionName, qualifier } = request
    const version = this.options.versions.cached(caller.project, functionName, qualifier)
    if (version !== undefined) run.admit(version)
    else void this.#resolveThenAdmit(run)
    return (reason) => run.cancel(reason)
  }

  /** Why a new Instance would be needed, as far as only the control knows. */
  coldHint(gate: FunctionGate, version: Version): ColdCause | null {
    const before = gate.lastVersion
    gate.lastVersion = version.number
    if (before === version.number) return null
    if (before !== 0) return 'new_version'
    if (version.createdAt < this.options.startedAt) return 'restart'
    return version.number === 1 ? 'first' : 'new_version'
  }

  async #resolveThenAdmit(run: Run): Promise<void> {
    const { caller, functionName, qualifier } = run.request
    try {
      run.admit(await this.options.versions.resolve(caller.project, functionName, qualifier))
    } catch (error) {
      // The name was resolved a moment ago by `authorizeInvoke`: it has been deleted since, or the store failed.
      const { code, message, detail } = toAppError(error)
      this.options.logger.warn('invocation.resolve.failed', { invocationId: run.id, code, detail })
      run.rejectUnresolved(message)
    }
  }
}

type RunState = 'new' | 'queued' | 'running' | 'done'

/** One Invocation from acceptance to its receipt. */
class Run implements Candidate {
  readonly id: string
  readonly request: InvokeRequest
  readonly acceptedAt: number
  readonly #invoker: Invoker
  readonly #done: (reply: InvokeReply) => void
  readonly #acceptedMs: number
  deadline: number
  #version: Version | null = null
  #gate: FunctionGate | null = null
  #agent: Agent | null = null
  #call: ExecuteCall | null = null
  #state: RunState = 'new'
  #queuedMs = 0
  #admittedMs = 0
  #head: InvokeReply['head'] = null
  #chunks: Uint8Array[] = []
  #bytes = 0
  #owedCredit = 0
  #instance: string | null = null

  constructor(invoker: Invoker, request: InvokeRequest, done: (reply: InvokeReply) => void) {
    const { clock, newId } = invoker.options
    this.#invoker = invoker
    this.request = request
    this.#done = done
    this.id = newId()
    this.acceptedAt = clock.nowMs()
    this.#acceptedMs = clock.monotonicMs()
    this.deadline = request.deadline ?? Infinity
  }

  get priority(): number {
    return this.request.priority
  }

  get bytes(): number {
    return this.request.payload.length
  }

  admit(version: Version): void {
    if (this.#state === 'done') return
    const { admission, stats } = this.#invoker.options
    this.#version = version
    this.deadline = Math.min(this.deadline, this.acceptedAt + version.config.timeoutMs)
    const figures = stats.of(version.project, version.functionName)
    this.#gate = admission.gate(`${version.project}/${version.functionName}`, figures)
    this.#gate.concurrency = version.config.concurrency
    if (this.deadline <= this.acceptedAt) return this.onExpired()
    this.#state = 'queued'
    this.#queuedMs = this.#invoker.options.clock.monotonicMs()
    this.#gate.enter(this)
  }

  onRun(): void {
    const version = this.#version
    const gate = this.#gate
    if (version === null || gate === null) return
    const { placement, clock } = this.#invoker.options
    this.#admittedMs = clock.monotonicMs()
    this.#state = 'running'
    this.#agent = placement.pick(version)
    const { contentType, traceparent, wantLogTail, payload } = this.request
    const call = this.#agent.execute(
      {
        invocationId: this.id,
        version,
        ownerEpoch: 1,
        acceptedAt: this.acceptedAt,
        deadline: this.deadline,
        contentType,
        traceparent,
        coldHint: this.#invoker.coldHint(gate, version),
        wantLogTail,
      },
      (frame) => this.#receive(frame),
    )
    if (this.#isDone()) return
    this.#call = call
    call.send({ type: 'data', chunk: payload, last: true })
  }

  onExpired(): void {
    this.#finish({
      outcome: 'expired',
      errorType: 'Hearth.Expired',
      message: 'The deadline passed before the invocation could start.',
      rejection: null,
    })
  }

  onRejected(rejection: Rejection): void {
    const what =
      rejection.kind === 'own_limit'
        ? 'All slots are in use and the queue is full'
        : 'The node has no memory for another Instance and the queue is full'
    this.#finish({
      outcome: 'rejected',
      errorType: 'Hearth.Rejected',
      message: `${what}: try again in ${Math.ceil(rejection.retryAfterMs / 1000)} s.`,
      rejection,
    })
  }

  rejectUnresolved(message: string): void {
    const rejection: Rejection = { kind: 'capacity', resource: 'function', cause: 'unresolved', retryAfterMs: 1_000 }
    this.#finish({ outcome: 'rejected', errorType: 'Hearth.Rejected', message, rejection })
  }

  cancel(reason: string): void {
    if (this.#isDone()) return
    if (this.#call !== null) return this.#call.send({ type: 'cancel', reason })
    this.#gate?.withdraw(this)
    this.#finish({
      outcome: 'cancelled',
      errorType: 'Hearth.Cancelled',
      message: `Cancelled: ${reason}.`,
      rejection: null,
    })
  }

  /** What `GET /v1/invocations/{id}` shows before the end. */
  view(): Receipt {
    const state = this.#state === 'running' ? (this.#instance === null ? 'starting' : 'running') : 'queued'
    return {
      ...this.#receipt(null, noPhases),
      state,
      endedAt: null,
      outcome: null,
      effect: state === 'running' ? 'may_have_committed' : 'never_started',
    }
  }

  #receive(frame: ExecuteUp): void {
    if (this.#isDone()) return
    switch (frame.type) {
      case 'data':
        this.#chunks.push(frame.chunk)
        this.#bytes += frame.chunk.length
        return this.#giveCredit(frame.chunk.length)
      case 'head':
        this.#head = { status: frame.status, headers: frame.headers }
        return
      case 'started':
        this.#instance = frame.instance
        return
      case 'result':
        return this.#receiveResult(frame.result)
    }
  }

  #giveCredit(bytes: number): void {
    this.#owedCredit += bytes
    if (this.#owedCredit < creditStepBytes) return
    this.#call?.send({ type: 'credit', bytes: this.#owedCredit })
    this.#owedCredit = 0
  }

  #receiveResult(result: AttemptResult): void {
    const gate = this.#gate
    const { refused } = result
    if (refused?.code === 'capacity' && gate !== null) {
      this.#state = 'queued'
      this.#call = null
      return gate.park(this)
    }
    if (refused !== null) {
      const rejection: Rejection = {
        kind: 'capacity',
        resource: refused.code === 'draining' ? 'node' : 'function',
        cause: refused.code,
        retryAfterMs: refused.retryAfterMs,
      }
      this.#finish({ outcome: 'rejected', errorType: 'Hearth.Rejected', message: refused.message, rejection })
      return gate?.leave()
    }
    this.#reply(result)
    gate?.leave()
  }

  #isDone(): boolean {
    return this.#state === 'done'
  }

  /** Ends it with the agent's result. */
  #reply(result: AttemptResult): void {
    const phases = this.#phases(result.phases)
    const isGood = result.outcome === 'succeeded'
    this.#end(this.#receipt(result, phases))
    this.#done({
      invocationId: this.id,
      outcome: result.outcome,
      effect: result.effect,
      version: this.#version?.number ?? 0,
      start: result.start,
      coldCause: result.coldCause,
      crashReason: result.crashReason,
      phases,
      error: result.error,
      rejection: null,
      logTail: result.logTail,
      head: isGood ? this.#head : null,
      body: isGood ? this.#body() : emptyBody,
    })
  }

  /** Ends it without an attempt. */
  #finish(end: {
    outcome: 'expired' | 'rejected' | 'cancelled'
    errorType: string
    message: string
    rejection: Rejection | null
  }): void {
    if (this.#isDone()) return
    const error = { errorType: end.errorType, errorMessage: end.message, stackTrace: [] }
    const phases = this.#phases(noPhases)
    this.#end({ ...this.#receipt(null, phases), outcome: end.outcome, effect: 'never_started', error })
    this.#done({
      invocationId: this.id,
      outcome: end.outcome,
      effect: 'never_started',
      version: this.#version?.number ?? 0,
      start: null,
      coldCause: null,
      crashReason: null,
      phases,
      error,
      rejection: end.rejection,
      logTail: null,
      head: null,
      body: emptyBody,
    })
  }

  #end(receipt: Receipt): void {
    this.#state = 'done'
    this.#invoker.active.delete(this.id)
    if (this.#version === null) return
    this.#gate?.figures.ended(receipt.outcome ?? 'rejected', receipt.durationMs, receipt.coldCause)
    this.#invoker.options.receipts.append(receipt)
  }

  #body(): Uint8Array {
    const [first] = this.#chunks
    if (first === undefined) return emptyBody
    return this.#chunks.length === 1 ? first : Buffer.concat(this.#chunks, this.#bytes)
  }

  /** The control's own phases before the agent's. */
  #phases(own: readonly Phase[]): readonly Phase[] {
    const { clock } = this.#invoker.options
    const admitMs = (this.#queuedMs > 0 ? this.#queuedMs : clock.monotonicMs()) - this.#acceptedMs
    const phases: Phase[] = [{ phase: 'admit', startMs: 0, durationMs: admitMs, source: 'none', bytes: 0 }]
    const waitedMs =
      this.#queuedMs === 0 ? 0 : (this.#admittedMs > 0 ? this.#admittedMs : clock.monotonicMs()) - this.#queuedMs
    if (waitedMs >= 0.05)
      phases.push({ phase: 'queue', startMs: admitMs, durationMs: waitedMs, source: 'none', bytes: 0 })
    return own.length === 0 ? phases : [...phases, ...own]
  }

  #receipt(result: AttemptResult | null, phases: readonly Phase[]): Receipt {
    const { caller, functionName, payload } = this.request
    return {
      id: this.id,
      project: caller.project,
      function: functionName,
      version: this.#version?.number ?? 0,
      state: 'done',
      outcome: result?.outcome ?? null,
      effect: result?.effect ?? 'never_started',
      createdAt: this.acceptedAt,
      deadline: Number.isFinite(this.deadline) ? this.deadline : this.acceptedAt,
      attempts: result === null || result.attempt === null ? [] : [result.attempt],
      endedAt: this.#invoker.options.clock.nowMs(),
      phases,
      durationMs: result?.durationMs ?? 0,
      start: result?.start ?? null,
      coldCause: result?.coldCause ?? null,
      crashReason: result?.crashReason ?? null,
      memoryPeakMib: result?.memoryPeakMib ?? 0,
      bytesFetched: 0,
      ephemeralBytesPeak: result?.ephemeralBytesPeak ?? 0,
      storageOps: 0,
      requestBytes: payload.length,
      responseBytes: this.#bytes,
      error: result?.error ?? null,
    }
  }
}
