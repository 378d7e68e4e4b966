import type { Clock } from '../domain/clock.ts'
import type { Logger } from '../domain/logger.ts'
import type { RuntimeBuild } from '../domain/runtime.ts'
import { Alarm } from './alarm.ts'
import type { Instance } from './instance.ts'
import type { MemoryBudget } from './memory-budget.ts'
import { BootSlots, Pool, unboundMib } from './pool.ts'
import { availableParallelism } from 'node:os'

export interface PoolsOptions {
  /** Booted Instances to keep ready per runtime in use. */
  readonly size: number
  readonly boot: (build: RuntimeBuild) => Promise<Instance>
  readonly budget: MemoryBudget
  readonly clock: Clock
  readonly logger: Logger
  /** A start is under way: refilling waits. */
  readonly isStarting: () => boolean
}

/** A start over, refilling waits this long for the next claim, so that it never runs beside a cold start it could wait for. */
const refillDelayMs = 10
const refillPauseMs = 100

/** The pools of all runtimes in use, and when they are refilled. */
export class Pools {
  readonly #options: PoolsOptions
  readonly #slots = new BootSlots(Math.max(4, availableParallelism() * 2))
  readonly #pools = new Map<string, Pool>()
  readonly #refills: Alarm
  #isStopped = false

  constructor(options: PoolsOptions) {
    this.#options = options
    this.#refills = new Alarm(options.clock, (nowMs) => this.#refill(nowMs))
    this.#slots.onFree = () => {
      for (const pool of this.#pools.values()) pool.bootForClaims()
      this.refillSoon()
    }
  }

  of(build: RuntimeBuild): Pool {
    const known = this.#pools.get(build.digest)
    if (known !== undefined) return known
    const { size, boot, budget, clock, logger } = this.#options
    const pool = new Pool({ build, size, boot, slots: this.#slots, budget, clock, logger })
    this.#pools.set(build.digest, pool)
    return pool
  }

  ready(): Instance[] {
    return [...this.#pools.values()].flatMap((pool) => pool.ready)
  }

  refillSoon(): void {
    if (!this.#isStopped) this.#refills.at(this.#options.clock.monotonicMs() + refillDelayMs)
  }

  /** Gives up a booted Instance of a runtime other than `but`; false when there is none. */
  shrink(but: string): boolean {
    for (const pool of this.#pools.values()) if (pool.build.digest !== but && pool.shrink()) return true
    return false
  }

  /** No more refilling. */
  stop(): void {
    this.#isStopped = true
    this.#refills.stop()
  }

  async close(): Promise<void> {
    this.stop()
    await Promise.all([...this.#pools.values()].map((pool) => pool.close()))
  }

  /** One boot at a time and none beside a start: refilling must never take time from work. */
  #refill(nowMs: number): number {
    const pools = [...this.#pools.values()]
    const isShort = pools.some((pool) => pool.isShort)
    if (this.#isStopped || !isShort || this.#options.budget.freeMib < unboundMib) return Infinity
    if (!this.#slots.isIdle || this.#options.isStarting()) return nowMs + refillDelayMs
    for (const pool of pools) if (this.#slots.isIdle) pool.refill()
    return nowMs + refillPauseMs
  }
}
