import { Alarm } from './alarm.ts'
import type { Instance } from './instance.ts'
import type { Place } from './place.ts'
import { BootSlots, Pool, type PoolOptions } from './pool.ts'
import { spareMib, Spares, type SparesOptions } from './spares.ts'
import { availableParallelism } from 'node:os'

export interface PoolsOptions extends Pick<PoolOptions, 'bring' | 'isWorthWaiting' | 'budget' | 'clock' | 'logger'> {
  /** Booted Instances to keep ready per runtime in use. */
  readonly size: number
  /** The same per runtime and size of microVMs: each is a process of 30 MiB. */
  readonly vmSize: number
  /** The same per function snapshot in demand. */
  readonly vmFunctionSize: number
  /** VMMs to keep waiting per snapshot in demand. */
  readonly spareSize: number
  readonly prespawn: SparesOptions['prespawn']
  /** Called once for each place that gets a pool. */
  readonly onNewPlace: (place: Place) => void
  /** A start is under way: refilling waits. */
  readonly isStarting: () => boolean
}

/** A start over, refilling waits this long for the next claim, so that it never runs beside a cold start it could wait for. */
const refillDelayMs = 10
const refillPauseMs = 100

/** What is kept for one Version goes when nobody wanted it for so long. */
const demandMs = 600_000

/** The pools of all runtimes in use and the VMMs started ahead, and when they are refilled. */
export class Pools {
  readonly spares: Spares
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
    const { spareSize: size, prespawn, budget, clock, logger } = options
    const onShort = (): void => this.refillSoon()
    this.spares = new Spares({ size, keepMs: demandMs, prespawn, onShort, slots: this.#vmSlots, budget, clock, logger })
    for (const slots of [this.#slots, this.#vmSlots])
      slots.onFree = () => {
        this.#bootForClaims(slots)
        this.refillSoon()
      }
  }

  of(place: Place): Pool {
    const known = this.#pools.get(place.key)
    if (known !== undefined) return known
    const { isVm } = place.driver.capabilities
    const pool = this.#make(place, { size: isVm ? this.#options.vmSize : this.#options.size, keepMs: Infinity })
    this.#pools.set(place.key, pool)
    this.#options.onNewPlace(place)
    return pool
  }

  /** The pool of one Version, brought up in its own way: from its own snapshot, or from none. */
  own(key: string, place: Place, how: Pick<PoolOptions, 'bring'> & Partial<PoolOptions>): Pool {
    const known = this.#pools.get(key)
    if (known !== undefined) return known
    const pool = this.#make(place, { size: 0, keepMs: demandMs, ...how })
    this.#pools.set(key, pool)
    return pool
  }

  /** Drops the own pools of a Version, when it goes. */
  forget(owner: string): void {
    for (const [key, pool] of this.#pools) {
      if (!key.startsWith(`${owner} `)) continue
      this.#pools.delete(key)
      void pool.retire()
    }
  }

  ready(): Instance[] {
    return [...this.#pools.values()].flatMap((pool) => pool.ready)
  }

  refillSoon(): void {
    if (!this.#isStopped) this.#refills.at(this.#options.clock.monotonicMs() + refillDelayMs)
  }

  /** Gives up what is cheapest to make again, of a runtime other than `but`: a VMM that waits, else a booted Instance; false when there is none. */
  shrink(but: string): boolean {
    if (this.spares.shrink(but)) return true
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
    await Promise.all([this.spares.close(), ...[...this.#pools.values()].map((pool) => pool.close())])
  }

  /** One boot at a time and none beside a start: refilling must never take time from work. Paused clones come first, since they save more. */
  #refill(nowMs: number): number {
    if (this.#isStopped) return Infinity
    const pools = [...this.#pools.values()]
    const nextMs = Math.min(this.spares.sweep(nowMs), ...pools.map((pool) => pool.sweep(nowMs)))
    const isShort = this.spares.isShort || pools.some((pool) => pool.isShort)
    if (!isShort || this.#options.budget.freeMib < spareMib) return nextMs
    if (!this.#isIdle || this.#options.isStarting()) return nowMs + refillDelayMs
    for (const pool of pools) if (this.#isIdle) pool.refill()
    if (this.#isIdle) this.spares.refill()
    return nowMs + refillPauseMs
  }

  /** First for whoever waits longest, whichever pool that is of. */
  #bootForClaims(slots: BootSlots): void {
    const all = [...this.#pools.values()].filter((pool) => pool.slots === slots)
    for (;;) {
      const pool = all.reduce<Pool | null>((a, b) => (a !== null && a.waitingSinceMs <= b.waitingSinceMs ? a : b), null)
      if (pool === null || pool.waitingSinceMs === Infinity || !pool.bootForClaim()) return
    }
  }

  get #isIdle(): boolean {
    return this.#slots.isIdle && this.#vmSlots.isIdle
  }

  #make(place: Place, own: Pick<PoolOptions, 'size' | 'keepMs'> & Partial<PoolOptions>): Pool {
    const { bring, isWorthWaiting, budget, clock, logger } = this.#options
    const slots = place.driver.capabilities.isVm ? this.#vmSlots : this.#slots
    return new Pool({ place, slots, bring, isWorthWaiting, budget, clock, logger, ...own })
  }
}
