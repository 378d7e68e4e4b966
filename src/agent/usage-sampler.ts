import type { Clock } from '../domain/clock.ts'
import { Alarm } from './alarm.ts'
import type { Instance } from './instance.ts'
import { TokenBucket } from './token-bucket.ts'

/** How often an active Instance's memory is read, and of how many at once: a reading is a few system calls in the launcher. */
const everyMs = 500
const batchMax = 64
/** Readings a second at the ends of invocations, as many at once: 5 % of a CPU in the launcher. */
const endsPerSecond = 500

/** Reads the usage of Instances that ran since their last reading, off the path of invocations; and bounds how often it is read at the ends of these. */
export class UsageSampler {
  readonly #clock: Clock
  readonly #instances: () => Iterable<Instance>
  readonly #alarm: Alarm
  readonly #ends: TokenBucket
  #isAwake = false

  constructor(clock: Clock, instances: () => Iterable<Instance>) {
    this.#clock = clock
    this.#instances = instances
    this.#ends = new TokenBucket(clock, endsPerSecond)
    this.#alarm = new Alarm(clock, (nowMs) => this.#sample(nowMs))
  }

  /** Something runs. */
  wake(): void {
    if (this.#isAwake) return
    this.#isAwake = true
    this.#alarm.at(this.#clock.monotonicMs() + everyMs)
  }

  /** Whether one more invocation may have its use read at its end. */
  takeOne(): boolean {
    return this.#ends.take(1)
  }

  #sample(nowMs: number): number {
    let count = 0
    for (const instance of this.#instances()) {
      if (!instance.usage.isStale && instance.running.size === 0) continue
      if (++count > batchMax) break
      void instance.usage.read()
    }
    if (count > 0) return nowMs + everyMs
    this.#isAwake = false
    return Infinity
  }
}
