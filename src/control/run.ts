import type { Agent, AttemptResult, ExecuteCall, ExecuteUp, UsagePeaks } from '../domain/agent.ts'
import type { InvokeReply, InvokeRequest, Overload, Rejection } from '../domain/control.ts'
import type { Version } from '../domain/function.ts'
import type { ColdCause, FunctionError, Phase, Receipt } from '../domain/invocation.ts'
import { limits } from '../domain/limits.ts'
import { BodyFeed } from './body-feed.ts'
import { emptyBody, ReplyIntake } from './reply-intake.ts'
import type { Linked } from './active-runs.ts'
import { gone, type Candidate, type FunctionGate } from './admission.ts'
import { LateReceipt } from './late-receipt.ts'
import { cancelled, expired, phasesBefore, tooLarge, unprepared, waitText, type Unanswered } from './run-ends.ts'
import type { RunHost } from './run-host.ts'

/*
 *   new --version known--> queued --slot--> running --result--> done
 *                            ^                 |
 *                            \---no capacity---/   (cancel and the deadline lead to done from anywhere)
 */
type RunState = 'new' | 'queued' | 'running' | 'done'

const noPhases: readonly Phase[] = []

/** One Invocation from acceptance to its receipt. */
export class Run implements Candidate, Linked<Run> {
  readonly id: string
  readonly request: InvokeRequest
  previous: Run | null = null
  next: Run | null = null
  deadline: number
  readonly #host: RunHost
  readonly #done: (reply: InvokeReply) => void
  /** Epoch ms. */
  readonly #acceptedAt: number
  readonly #acceptedMs: number
  #version: Version | null = null
  #gate: FunctionGate | null = null
  #agent: Agent | null = null
  #call: ExecuteCall | null = null
  #coldHint: ColdCause | null = null
  #state: RunState = 'new'
  #cancelReason: string | null = null
  #queuedMs = 0
  #admittedMs = 0
  #instance: string | null = null
  readonly #intake: ReplyIntake
  /** Hands on a request body that is not in memory. */
  readonly #feed: BodyFeed | null
  /** Its receipt waits for what it used. */
  #late: LateReceipt | null = null
  #start: Pick<InvokeReply, 'start' | 'coldCause'> = { start: null, coldCause: null }

  constructor(host: RunHost, request: InvokeRequest, done: (reply: InvokeReply) => void) {
    this.#host = host
    this.request = request
    this.#done = done
    this.#acceptedAt = host.clock.nowMs()
    this.#acceptedMs = host.clock.monotonicMs()
    this.id = request.id ?? host.newId(this.#acceptedAt)
    this.deadline = request.deadline ?? Infinity
    const bytesMax = request.sink === undefined ? limits.payloadBytesMax : host.streamBytesMax
    this.#intake = new ReplyIntake(bytesMax, request.sink)
    this.#feed = request.source === undefined ? null : new BodyFeed(request.source)
    host.active.add(this)
  }

  /** Of one that is answered, while it waits for what it used; else null. */
  get sealed(): Promise<Receipt> | null {
    return this.#late?.sealed ?? null
  }

  get priority(): number {
    return this.request.priority
  }

  get bytes(): number {
    return this.request.payload.length
  }

  admit(version: Version, gate: FunctionGate): void {
    if (this.#state === 'done') return
    this.#version = version
    this.#gate = gate
    this.#coldHint = this.#host.coldHint(gate, version)
    this.deadline = Math.min(this.deadline, this.#acceptedAt + version.config.timeoutMs)
    gate.concurrency = version.config.concurrency
    this.#state = 'queued'
    this.#queuedMs = this.#host.clock.monotonicMs()
    if (this.deadline <= this.#acceptedAt) return this.onExpired(null)
    gate.enter(this)
  }

  /** Its Version is known and cannot run yet: under whose figures it counts, and its deadline, hold from here on. */
  hold(version: Version, gate: FunctionGate): void {
    this.#version = version
    this.#gate = gate
    this.deadline = Math.min(this.deadline, this.#acceptedAt + version.config.timeoutMs)
  }

  /** Its Version can never run: the same answer as for code that does not start. */
  failUnprepared(version: Version, gate: FunctionGate, reason: string): void {
    if (this.#state === 'done') return
    this.hold(version, gate)
    this.#finish(unprepared(version.number, reason))
  }

  onRun(hasWaited: boolean): void {
    const version = this.#version
    if (version === null) return
    this.#admittedMs = hasWaited ? this.#host.clock.monotonicMs() : this.#queuedMs
    this.#state = 'running'
    this.#agent = this.#host.placement.pick(version)
    const { contentType, traceparent, wantLogTail, payload, sink, http } = this.request
    const call = this.#agent.execute(
      {
        invocationId: this.id,
        version,
        ownerEpoch: 1,
        acceptedAt: this.#acceptedAt,
        deadline: this.deadline,
        contentType,
        traceparent,
        coldHint: this.#coldHint,
        wantLogTail,
        ...(sink !== undefined && { isStreamed: true, replyBytesMax: this.#intake.bytesMax }),
        ...(http !== undefined && { http }),
      },
      (frame) => this.#receive(frame),
    )
    // An agent may answer before `execute` returns.
    if (!this.#isRunning()) return
    this.#call = call
    if (this.#feed === null) call.send({ type: 'data', chunk: payload, last: true })
    else this.#feed.connect(call)
  }

  onExpired(heldBy: Overload | null): void {
    this.#finish(expired(heldBy, this.request))
  }

  onRejected(rejection: Rejection): void {
    if (rejection.kind === 'gone') this.rejectGone()
    else this.#reject(waitText(rejection, this.request), rejection)
  }

  /** Its function was deleted after it had come. */
  rejectGone(): void {
    this.#reject(`There is no function "${this.request.functionName}": it was deleted.`, gone)
  }

  rejectUnresolved(message: string): void {
    this.#reject(message, { kind: 'capacity', resource: 'function', cause: 'unresolved', retryAfterMs: 1_000 })
  }

  /** False when it has ended, or is being cancelled already. */
  cancel(reason: string): boolean {
    if (this.#state === 'done' || this.#cancelReason !== null) return false
    this.#cancelReason = reason
    if (this.#call !== null) this.#call.send({ type: 'cancel', reason })
    else {
      this.#gate?.withdraw(this)
      this.#finish(cancelled(reason))
    }
    return true
  }

  /** What `GET /v1/invocations/{id}` shows before the end. */
  view(): Receipt {
    const state = this.#state !== 'running' ? 'queued' : this.#instance === null ? 'starting' : 'running'
    return {
      ...this.#receipt(null, { phases: noPhases, error: null }),
      state,
      endedAt: null,
      effect: state === 'running' ? 'may_have_committed' : 'never_started',
    }
  }

  #receive(frame: ExecuteUp): void {
    if (frame.type === 'usage') return this.#seal(frame)
    if (this.#state === 'done') return
    switch (frame.type) {
      case 'data':
        return this.#receiveData(frame.chunk)
      case 'head':
        this.#intake.head = { status: frame.status, headers: frame.headers }
        return this.#begin()
      case 'started':
        this.#instance = frame.instance
        this.#start = { start: frame.start, coldCause: frame.coldCause }
        return this.#feed?.open()
      case 'credit':
        return this.#feed?.taken(frame.bytes)
      case 'result':
        return this.#receiveResult(frame.result, frame.usageFollows === true)
    }
  }

  #receiveData(chunk: Uint8Array): void {
    // An agent stops at the same limit; one that does not must not fill our memory.
    if (!this.#intake.hasRoom(chunk.length)) return void this.cancel('response too large')
    this.#begin()
    const credit = this.#intake.take(chunk)
    if (credit > 0) this.#call?.send({ type: 'credit', bytes: credit })
  }

  /** The first part of a reply that is passed on as it comes. */
  #begin(): void {
    if (!this.#intake.isToBegin) return
    const version = this.#version?.number ?? 0
    const known = { invocationId: this.id, version, ...this.#start, phases: this.#phases(noPhases) }
    this.#intake.begin(known, (bytes) => this.#call?.send({ type: 'credit', bytes }))
  }

  #receiveResult(result: AttemptResult, usageFollows: boolean): void {
    const gate = this.#gate
    if (gate === null) return
    if (result.refused === null) {
      this.#reply(this.#intake.isOver ? tooLarge(result, this.#intake.bytesMax) : result, usageFollows)
      return gate.leave()
    }
    this.#call = null
    if (this.#cancelReason === null && result.refused.code === 'capacity') {
      this.#state = 'queued'
      return gate.park(this)
    }
    if (this.#cancelReason === null) this.#refuse(result.refused)
    else this.#finish(cancelled(this.#cancelReason))
    gate.leave()
  }

  #refuse({ code, message, retryAfterMs }: NonNullable<AttemptResult['refused']>): void {
    if (code === 'gone') return this.rejectGone()
    const resource = code === 'draining' ? 'node' : 'function'
    this.#reject(message, { kind: 'capacity', resource, cause: code, retryAfterMs })
  }

  #reject(message: string, rejection: Rejection): void {
    this.#finish({ outcome: 'rejected', errorType: 'Hearth.Rejected', message, rejection })
  }

  #isRunning(): boolean {
    return this.#state === 'running'
  }

  /** Ends it with the agent's result. */
  #reply(result: AttemptResult, usageFollows: boolean): void {
    const phases = this.#phases(result.phases)
    const isGood = result.outcome === 'succeeded'
    this.#end(this.#receipt(result, { phases, error: result.error }), usageFollows)
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
      head: isGood ? this.#intake.wholeHead() : null,
      body: isGood ? this.#intake.wholeBody() : emptyBody,
    })
  }

  /** Ends it without an attempt. */
  #finish({ outcome, errorType, message, rejection, heldBy = null, crashReason = null }: Unanswered): void {
    if (this.#state === 'done') return
    const error = { errorType, errorMessage: message, stackTrace: [] }
    const phases = this.#phases(noPhases)
    this.#end({ ...this.#receipt(null, { phases, error }), outcome, crashReason })
    this.#done({
      invocationId: this.id,
      outcome,
      effect: 'never_started',
      version: this.#version?.number ?? 0,
      start: null,
      coldCause: null,
      crashReason,
      phases,
      error,
      rejection,
      heldBy,
      logTail: null,
      head: null,
      body: emptyBody,
    })
  }

  #end(receipt: Receipt, usageFollows = false): void {
    this.#state = 'done'
    this.#feed?.close()
    this.#gate?.figures.ended(receipt.outcome ?? 'rejected', receipt.durationMs, receipt.coldCause)
    if (usageFollows) {
      this.#late = new LateReceipt(receipt)
      return
    }
    this.#host.active.remove(this)
    if (this.#gate !== null) this.#host.receipts.append(receipt)
  }

  /** What it used came after the answer. */
  #seal(used: UsagePeaks): void {
    if (this.#late === null) return
    const receipt = this.#late.seal(used)
    this.#late = null
    this.#host.active.remove(this)
    this.#host.receipts.append(receipt)
  }

  #phases(own: readonly Phase[]): readonly Phase[] {
    const [acceptedMs, queuedMs, admittedMs] = [this.#acceptedMs, this.#queuedMs, this.#admittedMs]
    return phasesBefore({ acceptedMs, queuedMs, admittedMs, nowMs: this.#host.clock.monotonicMs() }, own)
  }

  #receipt(
    result: AttemptResult | null,
    { phases, error }: { phases: readonly Phase[]; error: FunctionError | null },
  ): Receipt {
    const { caller, functionName, payload } = this.request
    return {
      id: this.id,
      project: caller.project,
      function: functionName,
      version: this.#version?.number ?? 0,
      state: 'done',
      outcome: result?.outcome ?? null,
      effect: result?.effect ?? 'never_started',
      createdAt: this.#acceptedAt,
      deadline: Number.isFinite(this.deadline) ? this.deadline : this.#acceptedAt,
      attempts: result === null || result.attempt === null ? [] : [result.attempt],
      endedAt: this.#host.clock.nowMs(),
      phases,
      durationMs: result?.durationMs ?? 0,
      start: result?.start ?? null,
      coldCause: result?.coldCause ?? null,
      crashReason: result?.crashReason ?? null,
      memoryPeakMib: result?.memoryPeakMib ?? 0,
      bytesFetched: 0,
      ephemeralBytesPeak: result?.ephemeralBytesPeak ?? 0,
      storageOps: 0,
      requestBytes: payload.length + (this.#feed?.bytes ?? 0),
      responseBytes: this.#intake.bytes,
      error,
    }
  }
}
