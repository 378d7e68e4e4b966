import { availableParallelism } from 'node:os'

/** About what a start from the pool takes, with what it costs the others. */
const startMs = 5
/** Fewer Instances than this leave a processor idle while an event is on its way. Measured on 2 cores with a handler of microseconds:
 *  1 Instance 20-28 k/s, 2 Instances 30-37 k/s, 32 Instances 18 k/s. */
const instancesMin = Math.max(2, availableParallelism())

/** How many waiting executions the Instances alive will have served before a new one could come up: starting for those only takes time
 *  from them. Guesses from recent durations; a guess that does not come true within `recheckMs` no longer counts. */
export class Demand {
  static readonly recheckMs = 2 * startMs
  #durationMs = Infinity
  #lastServedMs = -Infinity

  served(durationMs: number, nowMs: number): void {
    this.#durationMs = this.#durationMs === Infinity ? durationMs : this.#durationMs * 0.9 + durationMs * 0.1
    this.#lastServedMs = nowMs
  }

  servedSoon(instances: number, nowMs: number): number {
    if (instances < instancesMin || nowMs - this.#lastServedMs > Demand.recheckMs) return 0
    return Math.floor((instances * startMs) / Math.max(0.05, this.#durationMs))
  }
}
