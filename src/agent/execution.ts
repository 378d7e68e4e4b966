import type { AttemptResult, ExecuteCall, ExecuteDown, ExecuteRequest, ExecuteUp } from '../domain/agent.ts'
import type { Effect, FunctionError, Phase, StartSource } from '../domain/invocation.ts'
import { limits } from '../domain/limits.ts'
import type { InvokeHandlers, InvokeStream } from '../wire/link.ts'
import { cancelled, describeDeath, ephemeralFull, expired, isOfLoading } from './failures.ts'
import { responseTooLarge, timedOut, type Death, type Failure } from './failures.ts'
import type { ExecutionEnd, ExecutionHost, Fate } from './execution-host.ts'
import { ExecutionUse } from './execution-use.ts'
import type { Instance } from './instance.ts'
import type { FunctionLog } from './logs/function-log.ts'
import { InvocationLines } from './logs/invocation-lines.ts'
import type { Start } from './start.ts'
import { phasesSince, timedPhase } from './start-phases.ts'

/*
 *  waiting --INVOKE with BIND--> loading --READY--> running --END, FAIL--> ending (log tail, disk check) --> done
 *     \------INVOKE to a ready Instance------------/ (deadline, cancel, death end it from any state) -------/
 */
export type ExecutionState = 'waiting' | 'loading' | 'running' | 'ending' | 'done'

/** A cancelled handler gets this long to come to its end before its Instance is killed. */
const cancelGraceMs = 200
const noPhases: readonly Phase[] = []

/** One attempt on this node, from `execute` to its result. It is itself what the wire calls back, so that a warm invocation allocates little. */
export class Execution implements ExecuteCall, InvokeHandlers {
  readonly request: ExecuteRequest
  /** Monotonic ms. */
  readonly arrivedMs: number
  readonly dueMs: number
  state: ExecutionState = 'waiting'
  instance: Instance | null = null
  /** The start that brought up its Instance for it; null when it is served warm. */
  start: Start | null = null
  #source: StartSource | null = null
  readonly #host: ExecutionHost
  readonly use: ExecutionUse
  readonly #lines: InvocationLines
  #receivers: ((frame: ExecuteUp) => void)[]
  #stream: InvokeStream | null = null
  /** The event, as far as it came before there was an Instance. */
  #body: { chunk: Uint8Array; last: boolean }[] = []
  #head: Extract<ExecuteUp, { type: 'head' }> | null = null
  #chunks: Uint8Array[] = []
  #bytesOut = 0
  #startedAt = 0
  #runFromMs = -1
  /** Handler time, once it has ended. */
  durationMs = 0
  #cancelReason: string | null = null
  #end: ExecutionEnd | null = null

  constructor(
    host: ExecutionHost,
    options: { request: ExecuteRequest; log: FunctionLog; receive: (frame: ExecuteUp) => void },
  ) {
    this.#host = host
    this.request = options.request
    this.use = new ExecutionUse(host.sampler)
    this.#lines = new InvocationLines(options.log, options.request)
    this.#receivers = [options.receive]
    this.arrivedMs = host.clock.monotonicMs()
    this.dueMs = this.arrivedMs + options.request.deadline - host.clock.nowMs()
  }

  get isOver(): boolean {
    return this.state === 'done' || this.state === 'ending'
  }

  send(frame: ExecuteDown): void {
    if (frame.type === 'cancel') return this.cancel(frame.reason)
    if (frame.type === 'credit') return this.#stream?.credit(frame.bytes)
    if (this.#stream !== null) this.#stream.write(frame.chunk, frame.last)
    else if (this.state === 'waiting') this.#body.push(frame)
  }

  /** Gives the execution to `instance`: INVOKE and what is there of the event leave with this tick. */
  assign(instance: Instance, start: Start | null): void {
    this.instance = instance
    this.start = start
    this.#source = start === null ? 'warm' : start.source
    this.state = instance.state === 'binding' ? 'loading' : 'running'
    this.#runFromMs = this.#host.clock.monotonicMs()
    this.#startedAt = this.#host.clock.nowMs()
    this.#stream = instance.invoke(this)
    this.#lines.begin(instance.id, this.#startedAt)
    this.#tell({ type: 'started', instance: instance.id, start: this.#source, coldCause: start?.cause ?? null })
    for (const { chunk, last } of this.#body) this.#stream.write(chunk, last)
    this.#body = []
  }

  /** The Instance that got it early has loaded the code. */
  onLoaded(): void {
    if (this.state !== 'loading') return
    this.state = 'running'
    this.#runFromMs = this.#host.clock.monotonicMs()
  }

  onHead(head: { status: number; headers: [string, string][] }): void {
    if (this.isOver) return
    this.#head = { type: 'head', ...head }
    this.#tell(this.#head)
  }

  onData(chunk: Buffer): void {
    if (this.isOver) return
    this.#bytesOut += chunk.length
    const { isStreamed = false, replyBytesMax = limits.payloadBytesMax } = this.request
    if (this.#bytesOut > replyBytesMax) {
      const fate = this.#abandon('response too large')
      return this.#finish({ outcome: 'failed', effect: 'completed', error: responseTooLarge(replyBytesMax), fate })
    }
    if (!isStreamed) this.#chunks.push(chunk)
    this.#tell({ type: 'data', chunk })
  }

  onCredit(bytes: number): void {
    if (!this.isOver) this.#tell({ type: 'credit', bytes })
  }

  onEnd(openWork: boolean): void {
    if (this.isOver) return this.#late(openWork)
    this.#noteAnswer()
    if (this.#cancelReason !== null) return this.#finishCancelled({ fate: 'keep', openWork })
    this.#settle({ outcome: 'succeeded', effect: 'completed', error: null, fate: 'keep', openWork })
  }

  onFail(error: FunctionError, openWork: boolean): void {
    if (this.isOver) return this.#late(openWork)
    this.#noteAnswer()
    if (this.#cancelReason !== null) return this.#finishCancelled({ fate: 'check', openWork })
    const end: ExecutionEnd = { outcome: 'failed', effect: 'completed', error, fate: 'check', openWork }
    if (/ENOSPC|no space left/i.test(error.errorMessage)) void this.#settleIfDiskIsFull(end)
    else this.#settle(end)
  }

  onIdle(): void {
    this.instance?.workDone(this.request.invocationId)
  }

  onDeadline(): void {
    if (this.isOver) return
    if (this.state === 'waiting')
      return this.#finish({ outcome: 'expired', effect: 'never_started', error: expired(), fate: 'keep' })
    const error = timedOut(this.request.deadline - this.request.acceptedAt)
    this.#finish({ outcome: 'timed_out', effect: this.#effect(), error, fate: this.#abandon('timed out') })
  }

  cancel(reason: string): void {
    if (this.isOver || this.#cancelReason !== null) return
    this.#cancelReason = reason
    if (this.state !== 'running') return this.#finishCancelled({ fate: 'discard' })
    this.#stream?.cancel(reason)
    this.#host.clock.schedule(cancelGraceMs, () => {
      if (!this.isOver) this.#finishCancelled({ fate: this.#abandon(reason) })
    })
  }

  onInstanceDead(death: Death): void {
    if (this.state === 'done') return
    if (this.state === 'ending' && this.#end !== null) return this.#finish({ ...this.#end, fate: 'discard' })
    if (this.#cancelReason !== null) return this.#finishCancelled({ fate: 'discard' })
    this.fail(describeDeath(death))
  }

  /** It cannot go on, for a reason that is not the handler's result. */
  fail(failure: Failure): void {
    if (this.isOver) return
    const { error, crashReason } = failure
    // Then the handler did not run.
    const effect = isOfLoading(failure) ? 'never_started' : this.#effect()
    this.#finish({ outcome: 'crashed', effect, error, crashReason, fate: 'discard' })
  }

  refuse(refused: NonNullable<AttemptResult['refused']>): void {
    if (this.isOver) return
    const error = { errorType: `Hearth.Refused`, errorMessage: refused.message, stackTrace: [] }
    this.#finish({ outcome: 'rejected', effect: 'never_started', error, refused, fate: 'keep' })
  }

  /** Sends what came so far from `fromOffset` on, then everything that follows; null for one that is streamed: its bytes are gone. */
  attach(fromOffset: number, receive: (frame: ExecuteUp) => void): ExecuteCall | null {
    if (this.request.isStreamed === true) return null
    const { instance } = this
    if (instance !== null && this.#source !== null)
      receive({ type: 'started', instance: instance.id, start: this.#source, coldCause: this.start?.cause ?? null })
    if (this.#head !== null) receive(this.#head)
    let skip = fromOffset
    for (const chunk of this.#chunks) {
      if (skip < chunk.length) receive({ type: 'data', chunk: skip > 0 ? chunk.subarray(skip) : chunk })
      skip = Math.max(0, skip - chunk.length)
    }
    this.#receivers.push(receive)
    return this
  }

  /** A line of its output, for a caller who wants the tail. */
  noteLine(text: string): void {
    this.#lines.note(text)
  }

  /** Its result came, but after the platform had already answered: only open work matters still. */
  #late(openWork: boolean): void {
    if (openWork) this.instance?.settle(this, true)
  }

  #settle(end: ExecutionEnd): void {
    if (this.#lines.tail === null || this.instance === null) return this.#finish(end)
    this.state = 'ending'
    this.#end = end
    const ran = { isFirst: this.start !== null, durationMs: this.#host.clock.monotonicMs() - this.#runFromMs }
    void Promise.all([this.instance.outputBarrier(), this.use.measure(this.instance, ran)]).then(() =>
      this.#finish(end),
    )
  }

  async #settleIfDiskIsFull(end: ExecutionEnd): Promise<void> {
    this.state = 'ending'
    this.#end = end
    const usage = await this.instance?.usage.readSoon()
    if (this.#isDone() || end.error === null) return
    if (usage?.ephemeralFull !== true) return this.#settle(end)
    const failure = ephemeralFull(this.request.version.config.ephemeralMib, end.error)
    this.#finish({ ...failure, outcome: 'crashed', effect: 'may_have_committed', fate: 'discard' })
  }

  #finishCancelled(options: { fate: Fate; openWork?: boolean }): void {
    this.#finish({
      outcome: 'cancelled',
      effect: this.#effect(),
      error: cancelled(this.#cancelReason ?? ''),
      ...options,
    })
  }

  /** Wants no more of it. An Instance that serves others goes on, and its program leaves the request; any other goes. One that has answered nobody for
   *  as long as the function may take hangs, for all that is known: it gets nothing new. */
  #abandon(reason: string): Fate {
    const { instance } = this
    if (instance === null || this.state !== 'running' || instance.running.size < 2) return 'discard'
    if (instance.answeredMs <= this.#runFromMs && this.#hadItsTime()) instance.isRetired = true
    this.#stream?.cancel(reason)
    return 'keep'
  }

  /** All that the function allows, not less by its caller's choice. */
  #hadItsTime(): boolean {
    const { acceptedAt, deadline, version } = this.request
    return deadline - acceptedAt >= version.config.timeoutMs && this.#host.clock.nowMs() >= deadline
  }

  #noteAnswer(): void {
    if (this.instance !== null) this.instance.answeredMs = this.#host.clock.monotonicMs()
  }

  /** Once INVOKE has left nobody here knows what the handler did. */
  #effect(): Effect {
    return this.state === 'waiting' ? 'never_started' : 'may_have_committed'
  }

  #isDone(): boolean {
    return this.state === 'done'
  }

  #finish(end: ExecutionEnd): void {
    if (this.#isDone()) return
    const { instance } = this
    const endedMs = this.#host.clock.monotonicMs()
    const endedAt = this.#host.clock.nowMs()
    const wasRunning = this.state !== 'waiting' && this.state !== 'loading'
    const durationMs = wasRunning ? endedMs - this.#runFromMs : 0
    this.durationMs = durationMs
    this.state = 'done'
    // Asked for while it counts among what runs, and before its Instance may be ended.
    const measured = this.use.measure(instance, { isFirst: this.start !== null, durationMs })
    if (instance !== null) {
      instance.flushOutput()
      const isOwn = end.outcome === 'failed'
      this.#lines.end(endedAt, isOwn || end.outcome === 'crashed' || end.outcome === 'timed_out' ? end.error : null, {
        isOwn,
      })
      if (measured === null || this.#lines.tail !== null) this.#report(endedAt, end)
      instance.settle(this, end.openWork === true)
    }
    const result = this.#result(end, { endedMs, endedAt, durationMs })
    this.#host.onFinished(this, end.fate)
    this.#host.outcomes.record(this.request.invocationId, result)
    this.#tell(measured === null ? { type: 'result', result } : { type: 'result', result, usageFollows: true })
    this.#chunks = []
    this.#body = []
    void measured?.then(() => this.#tellUsage(end))
  }

  #tellUsage(end: ExecutionEnd): void {
    if (this.#lines.tail === null) this.#report(this.#host.clock.nowMs(), end)
    this.#tell({ type: 'usage', ...this.use.peaks(this.instance, end.crashReason) })
  }

  #report(time: number, end: ExecutionEnd): void {
    const peakMib = this.use.peaks(this.instance, end.crashReason).memoryPeakMib
    this.#lines.report(time, { durationMs: this.durationMs, peakMib, initMs: this.start?.initMs })
  }

  #result(
    end: ExecutionEnd,
    { endedMs, endedAt, durationMs }: { endedMs: number; endedAt: number; durationMs: number },
  ): AttemptResult {
    const { instance } = this
    const { node, arch } = this.#host
    return {
      outcome: end.outcome,
      effect: end.effect,
      attempt:
        instance === null
          ? null
          : {
              node,
              instance: instance.id,
              ...instance.from.record,
              arch,
              startedAt: this.#startedAt,
              endedAt,
              outcome: end.outcome,
            },
      start: this.#source,
      coldCause: this.start?.cause ?? null,
      crashReason: end.crashReason ?? null,
      error: end.error,
      refused: end.refused ?? null,
      phases: this.start === null ? noPhases : this.#phases(endedMs),
      durationMs,
      ...this.use.peaks(instance, end.crashReason),
      logTail: this.#lines.tail,
    }
  }

  #phases(endedMs: number): readonly Phase[] {
    const timed = [...(this.start?.phases ?? [])]
    if (this.#runFromMs >= 0 && this.start?.isLoaded === true)
      timed.push(timedPhase('first_request', { fromMs: this.#runFromMs, toMs: endedMs }))
    const originMs = this.dueMs - (this.request.deadline - this.request.acceptedAt)
    return phasesSince(timed, { originMs, arrivedMs: this.arrivedMs })
  }

  #tell(frame: ExecuteUp): void {
    for (const receive of this.#receivers) receive(frame)
  }
}
