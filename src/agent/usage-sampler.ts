import type { Clock } from '../domain/clock.ts'
import { Alarm } from './alarm.ts'
import type { Instance } from './instance.ts'

/** How often an active Instance's memory is read, and of how many at once: a reading is a few system calls in the launcher. */
const everyMs = 500
const batchMax = 64

/** Reads the usage of Instances that ran since their last reading, off the path of invocations. */
export class UsageSampler {
  readonly #clock: Clock
  readonly #instances: () => Iterable<Instance>
  readonly #alarm: Alarm
  #isAwake = false

  constructor(clock: Clock, instances: () => Iterable<Instance>) {
    this.#clock = clock
    this.#instances = instances
    this.#alarm = new Alarm(clock, (nowMs) => this.#sample(nowMs))
  }

  /** Something runs. */
  wake(): void {
    if (this.#isAwake) return
    this.#isAwake = true
    this.#alarm.at(this.#clock.monotonicMs() + everyMs)
  }

  #sample(nowMs: number): number {
    let count = 0
    for (const instance of this.#instances()) {
      if (!instance.isTouched && instance.running.size === 0) continue
      if (++count > batchMax) break
      void instance.readUsage()
    }
    if (count > 0) return nowMs + everyMs
    this.#isAwake = false
    return Infinity
  }
}
