import { availableParallelism } from 'node:os'

/** About what a start from the pool takes, with what it costs the others. */
const startMs = 5
/** Fewer Instances than this leave a processor idle while an event is on its way. Measured on 2 cores with a handler of microseconds:
 *  1 Instance 20-28 k/s, 2 Instances 30-37 k/s, 32 Instances 18 k/s. */
const instancesMin = Math.max(2, availableParallelism())

/** A handler that is over within this has no time to wait for anything: more Instances than processors only take turns on them. Measured on 2
 *  cores at 32 clients, medians of 5 rounds: 10 Instances 6.8 k/s and 100 us of CPU in the runtimes for each invocation, 2 Instances
 *  8.1 k/s and 56 us. */
const quickMsMax = 0.5
/** One that was quick is so until it takes this long: processors that are short of time stretch it. */
const quickMsLeave = 1

/** How many waiting executions the Instances alive will have served before a new one could come up: starting for those only takes time
 *  from them. Guesses from recent durations; a guess that does not come true within `recheckMs` no longer counts. */
export class Demand {
  static readonly recheckMs = 2 * startMs
  /** An execution that waits for a busy Instance while another is idle takes that one after this long all the same. */
  static readonly holdMs = startMs
  #durationMs = Infinity
  #lastServedMs = -Infinity
  /** Durations while no more Instances were busy than there are processors: among more they say how many there were. */
  #ownMs = Infinity
  #isQuick = false

  /** `busy`: Instances that served at the end of it, its own among them. */
  served(durationMs: number, nowMs: number, busy: number): void {
    if (busy <= instancesMin) this.#learn(durationMs)
    this.#durationMs = this.#durationMs === Infinity ? durationMs : this.#durationMs * 0.9 + durationMs * 0.1
    this.#lastServedMs = nowMs
  }

  /** Whether an execution does better to wait for one of `busy` Instances than to take one that is idle. */
  isEnough(busy: number): boolean {
    return this.#isQuick && busy >= instancesMin
  }

  servedSoon(instances: number, nowMs: number): number {
    if (instances < instancesMin || nowMs - this.#lastServedMs > Demand.recheckMs) return 0
    return Math.floor((instances * startMs) / Math.max(0.05, this.#durationMs))
  }

  #learn(durationMs: number): void {
    this.#ownMs = this.#ownMs === Infinity ? durationMs : this.#ownMs * 0.9 + durationMs * 0.1
    this.#isQuick = this.#ownMs < (this.#isQuick ? quickMsLeave : quickMsMax)
  }
}
