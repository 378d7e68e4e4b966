import { Backoff } from './backoff.ts'
import { ColdCauses } from './cold-causes.ts'
import { versionKey, type Version } from '../domain/function.ts'
import type { ColdCause } from '../domain/invocation.ts'
import { Demand } from './demand.ts'
import type { Fate } from './execution-host.ts'
import type { Execution } from './execution.ts'
import { isOfLoading, noMemory, type Death, type Failure } from './failures.ts'
import type { GroupHost } from './group-host.ts'
import type { Instance, InstanceOwner } from './instance.ts'
import type { FunctionLog } from './logs/function-log.ts'
import { chargeWhole, freeze, thaw } from './freezing.ts'
import { restAction } from './rest-policy.ts'
import { Seats } from './seats.ts'
import type { Start } from './start.ts'
import type { StartGroup } from './start-gate.ts'
import { StartSet } from './start-set.ts'

/** The Instances of one Version and the executions that wait for one. Late binding: a waiting execution takes whichever comes first,
 *  an Instance that became free or one that came up. */
export class VersionGroup implements InstanceOwner, StartGroup {
  readonly version: Version
  readonly key: string
  readonly log: FunctionLog
  /** Highest owner's epoch seen for the function; shared by its Versions. */
  readonly owner: { epoch: number }
  readonly live = new Set<Instance>()
  readonly #host: GroupHost
  readonly #starts = new StartSet()
  /** Most recently used last. */
  #idle: Instance[] = []
  #waiting: Execution[] = []
  /** Instances whose last invocation failed: they serve again once they have shown that they are not about to exit. */
  #settling = 0
  readonly #backoff = new Backoff()
  readonly #demand = new Demand()
  readonly #causes: ColdCauses
  readonly #seats: Seats
  #prepared = { min: 0, untilMs: 0 }

  constructor(host: GroupHost, options: { version: Version; log: FunctionLog; owner: { epoch: number } }) {
    this.#host = host
    this.version = options.version
    this.key = versionKey(options.version)
    this.log = options.log
    this.owner = options.owner
    this.#causes = new ColdCauses(options.version.config.reuse)
    this.#seats = new Seats(options.version.config.instanceConcurrency)
  }

  get isStarting(): boolean {
    return this.#starts.size > 0
  }

  /** Of whoever waits longest: executions of one Version have deadlines much alike. */
  get dueMs(): number {
    return this.#waiting[0]?.dueMs ?? Infinity
  }

  get isEmpty(): boolean {
    return this.live.size === 0 && this.#starts.size === 0 && this.#waiting.length === 0
  }

  /** Used least recently; null when none may go. */
  get oldestIdle(): Instance | null {
    return this.#idle.find((instance) => instance.openWork === 0) ?? null
  }

  /** Runs `execution` on an Instance with room for it now, or lets it wait for the first that comes. */
  take(execution: Execution): void {
    const roomy = this.#seats.take()
    if (roomy !== null) return execution.assign(roomy, null)
    let instance = this.#idle.pop()
    // What is passed over here is on its way out: its end is told by `onDead`.
    while (instance?.isReachable === false) instance = this.#idle.pop()
    if (instance !== undefined) return this.#run(instance, execution, null)
    this.#waiting.push(execution)
    this.pump()
  }

  /** `execution` has its result. */
  finished(execution: Execution, fate: Fate): void {
    const { instance } = execution
    if (instance === null) {
      this.#waiting = this.#waiting.filter((other) => other !== execution)
      return this.pump()
    }
    if (instance.isDead) return
    if (instance.state === 'binding') return this.#abandon(execution.start)
    this.#demand.served(execution.durationMs, instance.idleSinceMs)
    if (fate === 'discard') return this.discard(instance, 'crash')
    if (fate === 'keep' || instance.running.size > 0 || instance.isRetired || this.version.config.reuse === 'never')
      this.#free(instance)
    else this.#freeIfAlive(instance)
  }

  /** Takes in an Instance that an earlier agent left: loaded, idle. It counts `chargedMib`, and rests as a frozen one unless somebody waits for it. */
  adopt(instance: Instance, chargedMib: number): void {
    const wholeMib = this.version.config.memoryMib
    this.#join(instance, chargedMib)
    if (this.#waiting.length > 0 || !instance.from.mayPause) {
      chargeWhole(instance, wholeMib, this.#host)
      return this.#free(instance)
    }
    freeze(instance, wholeMib, this.#host)
    this.#idle.push(instance)
    this.#sweepSoon(instance)
  }

  /** Ends an Instance of this Version; `why` explains the next cold start. */
  discard(instance: Instance, why: ColdCause): void {
    this.#idle = this.#idle.filter((other) => other !== instance)
    this.#seats.withdraw(instance)
    const others = [...instance.running.keys()]
    if (this.live.delete(instance)) {
      this.#causes.gone(why)
      this.#host.release(instance.chargedMib)
      instance.chargedMib = 0
    }
    void instance.kill()
    for (const execution of others) execution.onInstanceDead({ exit: null, breach: 'its Instance had to be ended' })
    this.#host.onInstanceChanged(instance)
    this.pump()
  }

  /** Retires every Instance: idle ones now, busy and starting ones after what they run. Returns how many. */
  retire(): number {
    const all = [...this.live]
    for (const instance of all) instance.isRetired = true
    this.#starts.retire()
    for (const instance of all) if (instance.running.size === 0) this.discard(instance, 'evicted')
    return all.length
  }

  prepare(min: number, untilMs: number): void {
    this.#prepared = { min, untilMs }
    this.pump()
  }

  /** Starts what is needed, gives up what is not, refuses who cannot be served. */
  pump(): void {
    this.#trimStarts()
    while (this.#starts.uncommitted < this.#wanted()) {
      const nowMs = this.#host.clock.monotonicMs()
      if (this.#backoff.isOn(nowMs)) return this.#refuse(this.#backoff.refusal(this.key, nowMs))
      if (!this.#host.reserve(this.version)) return this.#refuse(noMemory(this.key, this.version.config.memoryMib))
      this.#beginStart()
    }
  }

  /** Freezes and reaps what was idle long enough; returns when to look again. */
  sweep(nowMs: number): number {
    if (this.#waiting.length > 0) this.pump()
    let next = Infinity
    for (const instance of [...this.#idle]) next = Math.min(next, this.#sweepOne(instance, nowMs))
    return next
  }

  onLoaded(instance: Instance): void {
    this.#expel(instance, 'a second READY')
  }

  onLoadFailed(instance: Instance): void {
    this.#expel(instance, 'FAIL on stream 0 after READY')
  }

  onDead(instance: Instance, _death: Death): void {
    this.discard(instance, 'crash')
  }

  onQuiet(instance: Instance): void {
    if (instance.running.size > 0) return
    if (instance.isRetired || this.version.config.reuse === 'never')
      this.discard(instance, this.#causes.ofLeaving(instance))
    else this.#sweepSoon(instance)
  }

  refuseAll(refused: Parameters<Execution['refuse']>[0]): void {
    for (const execution of this.#waiting.splice(0)) execution.refuse(refused)
  }

  #run(instance: Instance, execution: Execution, start: Start | null): void {
    if (instance.state === 'frozen') this.#thaw(instance)
    instance.state = 'busy'
    execution.assign(instance, start)
    this.#fill(instance)
  }

  /** Whoever waits gets what room is left beside what runs. */
  #fill(instance: Instance): void {
    while (this.#waiting.length > 0 && this.#seats.hasRoom(instance)) this.#waiting.shift()?.assign(instance, null)
    this.#seats.offer(instance)
  }

  /** An Instance has done one thing: the oldest waiter gets its place, or it rests once nothing runs on it. */
  #free(instance: Instance): void {
    if (instance.running.size > 0) return this.#fill(instance)
    this.#seats.withdraw(instance)
    if (instance.isRetired || this.version.config.reuse === 'never') {
      if (instance.openWork === 0) return this.discard(instance, this.#causes.ofLeaving(instance))
      instance.isRetired = true
      instance.state = 'ready'
      return this.#sweepSoon(instance)
    }
    const execution = this.#waiting.shift()
    if (execution !== undefined) {
      instance.state = 'busy'
      execution.assign(instance, null)
      this.#fill(instance)
      return this.#trimStarts()
    }
    instance.state = 'ready'
    this.#idle.push(instance)
    this.#sweepSoon(instance)
  }

  #freeIfAlive(instance: Instance): void {
    this.#settling++
    const settle = (): void => {
      this.#settling--
      if (instance.isReachable) this.#free(instance)
      else this.pump()
    }
    void instance.aliveBarrier().then(settle)
  }

  #sweepSoon(instance: Instance): void {
    const { freezeAfterMs, keepAliveMs } = this.version.config
    this.#host.sweepAt(instance.idleSinceMs + Math.min(freezeAfterMs, keepAliveMs))
  }

  #thaw(instance: Instance): void {
    thaw(instance, this.version.config.memoryMib, this.#host, () => {
      for (const execution of instance.running.keys())
        execution.onInstanceDead({ exit: null, breach: 'it could not be resumed' })
      this.discard(instance, 'crash')
    })
  }

  #beginStart(): void {
    const start = this.#host.makeStart(this.version, {
      cause: this.#causes.begin(this.live.size + this.#starts.size, this.#waiting[0]?.request.coldHint ?? null),
      group: this,
      takeEarly: () => this.#takeEarly(),
      onStarted: (started, instance) => this.#onStarted(started, instance),
      onFailed: (failed, failure) => this.#onStartFailed(failed, failure),
    })
    this.#starts.begin(start)
  }

  /** The waiter for an Instance that is about to load, when no other Instance could serve it sooner. */
  #takeEarly(): Execution | null {
    return this.live.size > 0 ? null : (this.#waiting.shift() ?? null)
  }

  #onStarted(start: Start, instance: Instance): void {
    this.#starts.remove(start)
    this.#join(instance)
    this.#host.onStartOver()
    const early = start.execution
    if (early !== null) {
      instance.state = 'busy'
      early.onLoaded()
      this.#fill(instance)
    } else {
      const execution = instance.isRetired ? undefined : this.#waiting.shift()
      if (execution === undefined) this.#free(instance)
      else this.#run(instance, execution, start)
    }
    this.#host.onInstanceChanged(instance)
  }

  #join(instance: Instance, chargedMib = this.version.config.memoryMib): void {
    this.#backoff.succeeded()
    this.#causes.started()
    instance.owner = this
    instance.chargedMib = chargedMib
    instance.idleSinceMs = this.#host.clock.monotonicMs()
    this.live.add(instance)
    this.#host.onLoaded(instance)
  }

  #onStartFailed(start: Start, failure: Failure): void {
    this.#starts.remove(start)
    this.#causes.gone('crash')
    this.#backoff.failed(failure, this.#host.clock.monotonicMs())
    this.#startOver()
    start.execution?.fail(failure)
    // With other Instances alive the rest can be served by them.
    if (this.live.size > 0) return
    // The event that it had may be why: others try for themselves.
    if (start.execution !== null && !isOfLoading(failure)) return this.pump()
    for (const execution of this.#waiting.splice(0)) execution.fail(failure)
  }

  /** The execution that a loading Instance was started for is gone: timed out or cancelled. */
  #abandon(start: Start | null): void {
    if (start === null || !this.#starts.remove(start)) return
    start.cancel()
    this.#startOver()
    this.pump()
  }

  #trimStarts(): void {
    if (this.#starts.size === 0) return
    for (let gone = this.#starts.trim(this.#starts.uncommitted - this.#wanted()); gone > 0; gone--) this.#startOver()
  }

  /** A start has ended without an Instance: what was reserved for it is free. */
  #startOver(): void {
    this.#host.release(this.version.config.memoryMib)
    this.#host.onStartOver()
  }

  #wanted(): number {
    const { min, untilMs } = this.#prepared
    const nowMs = this.#host.clock.monotonicMs()
    const soon = this.#settling + this.#demand.servedSoon(this.live.size, nowMs)
    const needed = Math.ceil(this.#waiting.length / this.#seats.perInstance)
    const waiting = Math.max(0, needed - soon)
    if (waiting < needed) this.#host.sweepAt(nowMs + Demand.recheckMs + 1)
    if (min === 0 || nowMs > untilMs) return waiting
    return Math.max(waiting, min - this.live.size)
  }

  /** Nobody can be started. Whoever waits may still be served by an Instance that is there, or fails now. */
  #refuse(refused: Parameters<Execution['refuse']>[0]): void {
    if (this.live.size === 0 && this.#starts.size === 0) this.refuseAll(refused)
  }

  #sweepOne(instance: Instance, nowMs: number): number {
    const { min, untilMs } = this.#prepared
    const { action, nextMs } = restAction(instance, {
      config: this.version.config,
      nowMs,
      keepUntilMs: nowMs < untilMs && this.live.size <= min ? untilMs : 0,
    })
    if (action === 'reap') this.discard(instance, 'idle')
    if (action === 'freeze') freeze(instance, this.version.config.memoryMib, this.#host)
    return nextMs
  }

  #expel(instance: Instance, what: string): void {
    this.#host.logger.warn('instance.expelled', { instanceId: instance.id, what })
    for (const execution of instance.running.keys()) execution.onInstanceDead({ exit: null, breach: what })
    if (!instance.isDead) this.discard(instance, 'crash')
  }
}
