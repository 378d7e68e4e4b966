import type { Clock } from '../domain/clock.ts'
import type { Logger } from '../domain/logger.ts'
import type { Instance, InstanceOwner } from './instance.ts'
import type { MemoryBudget } from './memory-budget.ts'
import { park } from './parking.ts'
import type { Place } from './place.ts'
import { machineMib } from './rest-policy.ts'

export interface PoolOptions {
  readonly place: Place
  /** Instances to keep ready. */
  readonly size: number
  /** How long after the last claim they are kept. */
  readonly keepMs: number
  /** Restored or booted, whatever is the strongest that works now; `refill` when nobody waits for it. */
  readonly bring: (place: Place, reason: BringReason) => Promise<Instance>
  readonly slots: BootSlots
  /** A snapshot is on its way: what waits for it comes up sooner and costs less. */
  readonly isWorthWaiting: (place: Place) => boolean
  readonly budget: MemoryBudget
  readonly clock: Clock
  readonly logger: Logger
}

export type BringReason = 'claim' | 'refill'

/** Somebody who waits for a booted Instance. */
export interface Claim {
  /** Called once, maybe before `claim` returns. `source` says whether it was ready already. */
  readonly onInstance: (instance: Instance, source: 'pool' | 'snapshot' | 'boot') => void
  readonly onFailed: (error: unknown) => void
}

const interpreterMib = 48

/** What an Instance without a Version counts towards the node's memory: an idle interpreter with its own heap, and the paused machine that it is in
 *  (both measured on QEMU with emulation: Python 63 MiB, Node 87 MiB). */
export function unboundMib({ driver }: Place): number {
  return interpreterMib + (driver.capabilities.isVm ? machineMib : 0)
}

const refillBackoffMs = { first: 1_000, max: 60_000 }

/** How many Instances boot at a time on this node: a boot takes 25-40 ms of CPU, more at once only delays them all. */
export class BootSlots {
  readonly #max: number
  #used = 0
  onFree: () => void = () => {}

  constructor(max: number) {
    this.#max = max
  }

  get isIdle(): boolean {
    return this.#used === 0
  }

  tryTake(): boolean {
    if (this.#used >= this.#max) return false
    this.#used++
    return true
  }

  give(): void {
    this.#used--
    this.onFree()
  }
}

/** Booted Instances of one runtime, without user code. A claim takes a ready one, else the first that comes up; refilling waits until nobody claims. */
export class Pool implements InstanceOwner {
  readonly place: Place
  readonly #options: PoolOptions
  #ready: Instance[] = []
  #claims: (Claim & { readonly sinceMs: number })[] = []
  #booting = 0
  #failures = 0
  #refillNotBeforeMs = 0
  #keptUntilMs: number
  #isClosed = false

  constructor(options: PoolOptions) {
    this.#options = options
    this.place = options.place
    this.#keptUntilMs = options.clock.monotonicMs() + options.keepMs
  }

  get slots(): BootSlots {
    return this.#options.slots
  }

  get ready(): readonly Instance[] {
    return this.#ready
  }

  get isShort(): boolean {
    const { clock, size } = this.#options
    return this.#ready.length + this.#booting < size && clock.monotonicMs() < this.#keptUntilMs
  }

  /** Lets go of those that nobody claimed for long; returns when to look again (monotonic ms). */
  sweep(nowMs: number): number {
    if (nowMs < this.#keptUntilMs) return this.#ready.length === 0 ? Infinity : this.#keptUntilMs
    while (this.shrink());
    return Infinity
  }

  /** Returns how to take the claim back. */
  claim(claim: Claim): () => void {
    this.#keptUntilMs = this.#options.clock.monotonicMs() + this.#options.keepMs
    const instance = this.#ready.pop()
    if (instance !== undefined) {
      this.#options.budget.give(unboundMib(this.place))
      instance.chargedMib = 0
      claim.onInstance(instance, 'pool')
      return () => {}
    }
    const waiting = { ...claim, sinceMs: this.#options.clock.monotonicMs() }
    this.#claims.push(waiting)
    this.bootForClaim()
    return () => {
      this.#claims = this.#claims.filter((other) => other !== waiting)
    }
  }

  /** Since when somebody waits for whom nothing boots (monotonic ms); Infinity when nobody does. */
  get waitingSinceMs(): number {
    return this.#claims[this.#booting]?.sinceMs ?? Infinity
  }

  /** Boots for one of those who wait; false when there is no slot. */
  bootForClaim(): boolean {
    if (this.#claims.length <= this.#booting) return true
    if (!this.#options.slots.tryTake()) return false
    this.#boot('claim')
    return true
  }

  /** Boots one towards `size` if nothing speaks against it: background work. */
  refill(): void {
    if (!this.isShort || this.#isClosed || this.#claims.length > 0) return
    if (this.#options.isWorthWaiting(this.place)) return
    if (this.#options.clock.monotonicMs() < this.#refillNotBeforeMs) return
    if (this.#options.budget.freeMib < unboundMib(this.place) || !this.#options.slots.tryTake()) return
    this.#boot('refill')
  }

  /** Gives up one ready Instance to make room; false when there is none. */
  shrink(): boolean {
    const instance = this.#ready.shift()
    if (instance === undefined) return false
    this.#options.budget.give(unboundMib(this.place))
    void instance.kill()
    return true
  }

  async close(): Promise<void> {
    for (const claim of this.#claims.splice(0)) claim.onFailed(new Error('The agent is closing.'))
    await this.retire()
  }

  /** Keeps none ready any more; who waits is still served. */
  async retire(): Promise<void> {
    this.#isClosed = true
    const ready = this.#ready.splice(0)
    this.#options.budget.give(ready.length * unboundMib(this.place))
    await Promise.all(ready.map((instance) => instance.kill()))
  }

  onDead(instance: Instance): void {
    const before = this.#ready.length
    this.#ready = this.#ready.filter((other) => other !== instance)
    if (this.#ready.length < before) this.#options.budget.give(unboundMib(this.place))
    this.#options.logger.warn('pool.instance.died', { instanceId: instance.id, output: instance.bootOutput })
  }

  onLoaded(instance: Instance): void {
    this.#expel(instance, 'READY')
  }

  onLoadFailed(instance: Instance): void {
    this.#expel(instance, 'FAIL')
  }

  onQuiet(): void {}

  #expel(instance: Instance, what: string): void {
    this.#options.logger.warn('pool.instance.expelled', { instanceId: instance.id, what })
    void instance.kill()
    this.onDead(instance)
  }

  #boot(reason: BringReason): void {
    this.#booting++
    this.#options.bring(this.place, reason).then(
      (instance) => this.#booted(instance),
      (error: unknown) => this.#bootFailed(error),
    )
  }

  #booted(instance: Instance): void {
    this.#booting--
    this.#failures = 0
    instance.owner = this
    instance.state = 'booted'
    const claim = this.#claims.shift()
    if (claim !== undefined) claim.onInstance(instance, instance.from.isRestored ? 'snapshot' : 'boot')
    else if (this.#isClosed || this.#ready.length >= this.#options.size) void instance.kill()
    else this.#keep(instance)
    this.#options.slots.give()
  }

  #keep(instance: Instance): void {
    this.#ready.push(instance)
    void this.#settle(instance)
    instance.chargedMib = unboundMib(this.place)
    this.#options.budget.take(unboundMib(this.place))
  }

  /** A PING before BIND says that there is time to warm up; the second one is answered when that is done. Only then may a VM stop, whose
   *  kernel ticks even when idle. */
  async #settle(instance: Instance): Promise<void> {
    try {
      await instance.link.ping()
      await instance.link.ping()
    } catch {
      return // The link has closed, which its Instance reports.
    }
    if (this.place.driver.capabilities.isVm && this.#ready.includes(instance)) park(instance.sandbox)
  }

  #bootFailed(error: unknown): void {
    this.#booting--
    const claim = this.#claims.shift()
    if (claim !== undefined) claim.onFailed(error)
    else {
      const waitMs = Math.min(refillBackoffMs.max, refillBackoffMs.first * 2 ** this.#failures)
      this.#failures++
      this.#refillNotBeforeMs = this.#options.clock.monotonicMs() + waitMs
      this.#options.logger.warn('pool.refill.failed', { place: this.place.key, error: String(error), waitMs })
    }
    this.#options.slots.give()
  }
}
