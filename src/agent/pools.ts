import { Alarm } from './alarm.ts'
import type { Instance } from './instance.ts'
import type { Place } from './place.ts'
import { BootSlots, Pool, unboundMib, type PoolOptions } from './pool.ts'
import { availableParallelism } from 'node:os'

export interface PoolsOptions extends Pick<PoolOptions, 'bring' | 'isWorthWaiting' | 'budget' | 'clock' | 'logger'> {
  /** Booted Instances to keep ready per runtime in use. */
  readonly size: number
  /** The same per runtime and size of microVMs: each is a process of 30 MiB. */
  readonly vmSize: number
  /** Called once for each place that gets a pool. */
  readonly onNewPlace: (place: Place) => void
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
  /** A guest's boot keeps a core busy from beginning to end: more at once only delay one another. */
  readonly #vmSlots = new BootSlots(availableParallelism() + 1)
  readonly #pools = new Map<string, Pool>()
  readonly #refills: Alarm
  #isStopped = false

  constructor(options: PoolsOptions) {
    this.#options = options
    this.#refills = new Alarm(options.clock, (nowMs) => this.#refill(nowMs))
    for (const slots of [this.#slots, this.#vmSlots])
      slots.onFree = () => {
        for (const pool of this.#pools.values()) pool.bootForClaims()
        this.refillSoon()
      }
  }

  of(place: Place): Pool {
    const known = this.#pools.get(place.key)
    if (known !== undefined) return known
    const { isVm } = place.driver.capabilities
    const pool = this.#make(place, { size: isVm ? this.#options.vmSize : this.#options.size })
    this.#pools.set(place.key, pool)
    this.#options.onNewPlace(place)
    return pool
  }

  /** A pool that keeps none ready, brought up in its own way: for a Version that starts from its own snapshot, or from none. */
  own(key: string, place: Place, bring: PoolOptions['bring']): Pool {
    const known = this.#pools.get(key)
    if (known !== undefined) return known
    const pool = this.#make(place, { size: 0, bring })
    this.#pools.set(key, pool)
    return pool
  }

  /** Drops the own pools of a Version, when it goes. */
  forget(owner: string): void {
    for (const key of this.#pools.keys()) if (key.startsWith(`${owner} `)) this.#pools.delete(key)
  }

  ready(): Instance[] {
    return [...this.#pools.values()].flatMap((pool) => pool.ready)
  }

  refillSoon(): void {
    if (!this.#isStopped) this.#refills.at(this.#options.clock.monotonicMs() + refillDelayMs)
  }

  /** Gives up a booted Instance of a runtime other than `but`; false when there is none. */
  shrink(but: string): boolean {
    for (const pool of this.#pools.values()) if (pool.place.build.digest !== but && pool.shrink()) return true
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
    if (!this.#isIdle || this.#options.isStarting()) return nowMs + refillDelayMs
    for (const pool of pools) if (this.#isIdle) pool.refill()
    return nowMs + refillPauseMs
  }

  get #isIdle(): boolean {
    return this.#slots.isIdle && this.#vmSlots.isIdle
  }

  #make(place: Place, own: { size: number; bring?: PoolOptions['bring'] }): Pool {
    const { bring, isWorthWaiting, budget, clock, logger } = this.#options
    const slots = place.driver.capabilities.isVm ? this.#vmSlots : this.#slots
    return new Pool({ place, slots, bring, isWorthWaiting, budget, clock, logger, ...own })
  }
}
