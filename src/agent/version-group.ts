import { Backoff } from './backoff.ts'
import { ColdCauses } from './cold-causes.ts'
import { versionKey, type Version } from '../domain/function.ts'
import type { ColdCause } from '../domain/invocation.ts'
import { Demand } from './demand.ts'
import type { Fate } from './execution-host.ts'
import type { Execution } from './execution.ts'
import { functionGone, isOfLoading, noMemory, type Death, type Failure } from './failures.ts'
import type { GroupHost } from './group-host.ts'
import type { Instance, InstanceOwner } from './instance.ts'
import type { FunctionLog } from './logs/function-log.ts'
import { chargeWhole, freeze, thaw } from './freezing.ts'
import { Goodbyes } from './goodbyes.ts'
import { Resting } from './resting.ts'
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
  readonly starts: StartSet
  readonly resting = new Resting()
  #waiting: Execution[] = []
  readonly goodbyes: Goodbyes
  /** Its function is deleted. */
  #isClosed = false
  /** Instances whose last invocation failed: they serve again once they have shown that they are not about to exit. */
  #settling = 0
  readonly #backoff = new Backoff()
  readonly #demand = new Demand()
  readonly #causes: ColdCauses
  readonly #seats: Seats

  constructor(host: GroupHost, options: { version: Version; log: FunctionLog; owner: { epoch: number } }) {
    this.#host = host
    this.version = options.version
    this.key = versionKey(options.version)
    this.log = options.log
    this.owner = options.owner
    this.goodbyes = new Goodbyes(host)
    this.starts = new StartSet(() => {
      host.release(options.version.config.memoryMib)
      host.onStartOver()
    })
    this.#causes = new ColdCauses(options.version.config.reuse)
    this.#seats = new Seats(options.version.config.instanceConcurrency)
  }

  /** Of whoever waits longest: executions of one Version have deadlines much alike. */
  get dueMs(): number {
    return this.#waiting[0]?.dueMs ?? Infinity
  }

  get isEmpty(): boolean {
    return [this.live, this.goodbyes, this.starts].every(({ size }) => size === 0) && this.#waiting.length === 0
  }

  /** Runs `execution` on an Instance with room for it now, or lets it wait for the first that comes. */
  take(execution: Execution): void {
    if (this.#isClosed) return execution.refuse(functionGone)
    const roomy = this.#seats.take()
    if (roomy !== null) return execution.assign(roomy, null)
    const instance = this.resting.take()
    if (instance !== null) return this.#run(instance, execution, null)
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
    else void this.#freeIfAlive(instance)
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
    this.resting.add(instance)
    this.#sweepSoon(instance)
  }

  /** Ends an Instance of this Version; `why` explains the next cold start. */
  discard(instance: Instance, why: ColdCause): void {
    this.resting.remove(instance)
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
    this.starts.retire()
    for (const instance of all) if (instance.running.size === 0) this.#dismiss(instance, 'evicted')
    return all.length
  }

  /** Its function is deleted: what runs comes to its end, nothing waits, rests or starts any more. */
  close(): void {
    this.#isClosed = true
    this.resting.prepare(0, 0)
    this.refuseAll(functionGone)
    this.retire()
    this.#trimStarts()
  }

  prepare(min: number, untilMs: number): void {
    if (this.#isClosed) return
    this.resting.prepare(min, untilMs)
    this.pump()
  }

  /** Starts what is needed, gives up what is not, refuses who cannot be served. */
  pump(): void {
    this.#trimStarts()
    while (this.starts.uncommitted < this.#wanted()) {
      const nowMs = this.#host.clock.monotonicMs()
      if (this.#backoff.isOn(nowMs)) {
        this.#host.sweepAt(this.#backoff.untilMs)
        return this.#refuse(this.#backoff.refusal(this.key, nowMs))
      }
      if (!this.#host.reserve(this.version)) return this.#refuse(noMemory(this.key, this.version.config.memoryMib))
      this.#beginStart()
    }
  }

  /** Freezes and reaps what was idle long enough; returns when to look again. */
  sweep(nowMs: number): number {
    if (this.#waiting.length > 0 || this.resting.prepared(nowMs) > this.live.size) this.pump()
    const { config } = this.version
    return this.resting.sweep({ config, live: this.live, nowMs }, (instance, action) => {
      if (action === 'reap') this.#dismiss(instance, 'idle')
      else freeze(instance, config.memoryMib, this.#host)
    })
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
    if (this.#isLeaving(instance)) this.#letGo(instance)
    else this.#sweepSoon(instance)
  }

  refuseAll(refused: Parameters<Execution['refuse']>[0]): void {
    for (const execution of this.#waiting.splice(0)) execution.refuse(refused)
  }

  #isLeaving(instance: Instance): boolean {
    return instance.isRetired || this.version.config.reuse === 'never'
  }

  /** It has done its last. One that is used once has no time to say goodbye in. */
  #letGo(instance: Instance): void {
    const why = this.#causes.ofLeaving(instance)
    if (this.version.config.reuse === 'never') this.discard(instance, why)
    else this.#dismiss(instance, why)
  }

  /** Ends an idle Instance whose program may say goodbye first. */
  #dismiss(instance: Instance, why: ColdCause): void {
    if (!instance.isReachable || instance.openWork > 0) return this.discard(instance, why)
    this.resting.remove(instance)
    this.#seats.withdraw(instance)
    if (this.live.delete(instance)) this.#causes.gone(why)
    this.goodbyes.say(instance, this.version)
    this.pump()
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
    if (this.#isLeaving(instance)) {
      if (instance.openWork === 0) return this.#letGo(instance)
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
    this.resting.add(instance)
    this.#sweepSoon(instance)
  }

  async #freeIfAlive(instance: Instance): Promise<void> {
    this.#settling++
    await instance.aliveBarrier()
    this.#settling--
    // Meanwhile it may have been asked to end.
    if (instance.isReachable && this.live.has(instance)) this.#free(instance)
    else this.pump()
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
      cause: this.#causes.begin(this.live.size + this.starts.size, this.#waiting[0]?.request.coldHint ?? null),
      group: this,
      // For an Instance that is about to load, when no other could serve it sooner.
      takeEarly: () => (this.live.size > 0 ? null : (this.#waiting.shift() ?? null)),
      onStarted: (started, instance) => this.#onStarted(started, instance),
      onFailed: (failed, failure) => this.#onStartFailed(failed, failure),
    })
    this.starts.begin(start)
  }

  #onStarted(start: Start, instance: Instance): void {
    this.starts.succeeded(start)
    this.#join(instance)
    instance.isRetired ||= this.#isClosed
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
    this.#causes.gone('crash')
    this.#backoff.failed(failure, this.#host.clock.monotonicMs())
    this.starts.failed(start)
    start.execution?.fail(failure)
    // With other Instances alive the rest can be served by them, and the event that it had may be why: others try for themselves.
    const mayOthers = this.live.size > 0 || (start.execution !== null && !isOfLoading(failure))
    if (!mayOthers) for (const execution of this.#waiting.splice(0)) execution.fail(failure)
    this.pump()
  }

  /** The execution that a loading Instance was started for is gone: timed out or cancelled. */
  #abandon(start: Start | null): void {
    if (start !== null && this.starts.cancel(start)) this.pump()
  }

  #trimStarts(): void {
    if (this.starts.size > 0) this.starts.trim(this.starts.uncommitted - this.#wanted())
  }

  #wanted(): number {
    const nowMs = this.#host.clock.monotonicMs()
    const soon = this.#settling + this.#demand.servedSoon(this.live.size, nowMs)
    const needed = Math.ceil(this.#waiting.length / this.#seats.perInstance)
    const waiting = Math.max(0, needed - soon)
    if (waiting < needed) this.#host.sweepAt(nowMs + Demand.recheckMs + 1)
    return Math.max(waiting, this.resting.prepared(nowMs) - this.live.size)
  }

  /** Nobody can be started. Whoever waits may still be served by an Instance that is there, or fails now. */
  #refuse(refused: Parameters<Execution['refuse']>[0]): void {
    if (this.live.size === 0 && this.starts.size === 0) this.refuseAll(refused)
  }

  #expel(instance: Instance, what: string): void {
    this.#host.logger.warn('instance.expelled', { instanceId: instance.id, what })
    for (const execution of instance.running.keys()) execution.onInstanceDead({ exit: null, breach: what })
    if (!instance.isDead) this.discard(instance, 'crash')
  }
}
