import type { Clock } from '../domain/clock.ts'
import type { Prespawned } from '../domain/driver.ts'
import type { Logger } from '../domain/logger.ts'
import type { Snapshot } from '../domain/snapshot.ts'
import type { MemoryBudget } from './memory-budget.ts'
import type { Place } from './place.ts'
import type { BootSlots } from './pool.ts'

/** What a VMM is started ahead for. */
export interface SpareSource {
  readonly place: Place
  readonly snapshot: Snapshot
  /** What a function snapshot has mounted. */
  readonly codeImage: string | null
}

/** A VMM started ahead, and the id that the Instance made of it will have. */
export interface Spare {
  readonly id: string
  readonly prespawned: Prespawned
}

export interface SparesOptions {
  /** VMMs to keep per snapshot in demand; 0 keeps none. */
  readonly size: number
  /** A snapshot is in demand for this long after a start that it served, or could have. */
  readonly keepMs: number
  readonly prespawn: (source: SpareSource) => Promise<Spare>
  readonly slots: BootSlots
  readonly budget: MemoryBudget
  readonly clock: Clock
  readonly logger: Logger
  /** One more is wanted. */
  readonly onShort: () => void
}

/** What a VMM that waits for its state counts towards the node's memory: its own heap, without a page of the guest's. Measured on
 *  QEMU 7.2: 14 MiB, beside 18 MiB of program that all of them share. */
export const spareMib = 16
/** All together hold at most this part of the node's memory, so that many functions do not crowd out what works. */
const memoryPart = 1 / 8
const backoffMs = { first: 1_000, max: 60_000 }

interface Supply extends SpareSource {
  ready: Spare[]
  coming: number
  neededUntilMs: number
  failures: number
  notBeforeMs: number
}

/** VMMs that are up and wait for the state of a snapshot: the first half of a restore, paid ahead. One belongs to its snapshot, and
 *  is used once. */
export class Spares {
  readonly #options: SparesOptions
  /** By snapshot; needed most recently last. */
  readonly #supplies = new Map<string, Supply>()
  readonly #spawning = new Set<Promise<void>>()
  readonly #max: number
  #isClosed = false

  constructor(options: SparesOptions) {
    this.#options = options
    this.#max = Math.floor((options.budget.totalMib * memoryPart) / spareMib)
  }

  /** A start wants `source.snapshot`, or is about to. */
  need(source: SpareSource): void {
    const { size, keepMs, clock, onShort } = this.#options
    const { place, snapshot } = source
    if (size === 0 || this.#isClosed || place.driver.prespawn === undefined) return
    const fresh = { ready: [], coming: 0, failures: 0, notBeforeMs: 0, neededUntilMs: 0 }
    const supply: Supply = this.#supplies.get(snapshot.id) ?? { ...source, ...fresh }
    supply.neededUntilMs = clock.monotonicMs() + keepMs
    this.#supplies.delete(snapshot.id)
    this.#supplies.set(snapshot.id, supply)
    if (this.#isShort(supply)) onShort()
  }

  /** One that waits for the state of `snapshot`, which is the caller's from now on; null when there is none. */
  take(snapshot: Snapshot): Spare | null {
    const supply = this.#supplies.get(snapshot.id)
    for (let spare = supply?.ready.shift(); spare !== undefined; spare = supply?.ready.shift()) {
      this.#options.budget.give(spareMib)
      if (spare.prespawned.isAlive) return spare
    }
    return null
  }

  /** How many wait, by snapshot. */
  counts(): ReadonlyMap<string, number> {
    return new Map([...this.#supplies].map(([id, { ready }]) => [id, ready.length]))
  }

  /** One is missing that could be started, now or once its last failure is long enough ago. */
  get isShort(): boolean {
    return this.#shortest(Infinity) !== null
  }

  /** Starts one that is missing if nothing speaks against it: background work. */
  refill(): void {
    const { clock, slots, budget } = this.#options
    const supply = this.#shortest(clock.monotonicMs())
    if (supply === null || budget.freeMib < spareMib || !slots.tryTake()) return
    if (this.#count() >= this.#max) this.shrink(null)
    const spawning = this.#spawn(supply).finally(() => {
      this.#spawning.delete(spawning)
      slots.give()
    })
    this.#spawning.add(spawning)
  }

  /** Lets go of those that nobody needed for long; returns when to look again (monotonic ms). */
  sweep(nowMs: number): number {
    let nextMs = Infinity
    for (const supply of this.#supplies.values())
      if (supply.neededUntilMs <= nowMs) void this.#drop(supply)
      else nextMs = Math.min(nextMs, supply.neededUntilMs)
    return nextMs
  }

  /** Ends those of a snapshot that serves no more; resolves when they are gone. */
  async retire(snapshot: Snapshot): Promise<void> {
    const supply = this.#supplies.get(snapshot.id)
    if (supply !== undefined) await this.#drop(supply)
  }

  /** Gives up one to make room, of another runtime than `but` and needed least recently; false when there is none. */
  shrink(but: string | null): boolean {
    for (const supply of this.#supplies.values()) {
      const spare = supply.place.build.digest === but ? undefined : supply.ready.shift()
      if (spare === undefined) continue
      void this.#kill(spare)
      return true
    }
    return false
  }

  async close(): Promise<void> {
    this.#isClosed = true
    await Promise.all([...this.#supplies.values()].map((supply) => this.#drop(supply)))
    await Promise.all(this.#spawning)
  }

  /** Of those that are short of one and may be tried at `nowMs`, the one needed most recently. */
  #shortest(nowMs: number): Supply | null {
    if (this.#isClosed) return null
    const all = [...this.#supplies.values()]
    const at = all.findLastIndex((supply) => this.#isShort(supply) && supply.notBeforeMs <= nowMs)
    // All are held that may be: only one needed less recently makes room.
    const mayHold = this.#count() < this.#max || all.slice(0, Math.max(0, at)).some(({ ready }) => ready.length > 0)
    return mayHold ? (all[at] ?? null) : null
  }

  #isShort({ ready, coming }: Supply): boolean {
    return ready.length + coming < this.#options.size
  }

  #count(): number {
    return [...this.#supplies.values()].reduce((sum, { ready, coming }) => sum + ready.length + coming, 0)
  }

  async #spawn(supply: Supply): Promise<void> {
    const { budget, prespawn, logger, clock } = this.#options
    supply.coming++
    budget.take(spareMib)
    try {
      const spare = await prespawn(supply)
      supply.failures = 0
      void spare.prespawned.ended.then(() => this.#ended(supply, spare))
      if (this.#supplies.get(supply.snapshot.id) === supply) supply.ready.push(spare)
      else await this.#kill(spare)
    } catch (error) {
      budget.give(spareMib)
      const waitMs = Math.min(backoffMs.max, backoffMs.first * 2 ** supply.failures++)
      supply.notBeforeMs = clock.monotonicMs() + waitMs
      logger.warn('spare.failed', { snapshot: supply.snapshot.id, error: String(error), waitMs })
    }
    supply.coming--
  }

  /** It died while it waited. */
  #ended(supply: Supply, spare: Spare): void {
    const before = supply.ready.length
    supply.ready = supply.ready.filter((other) => other !== spare)
    if (supply.ready.length === before) return
    this.#options.budget.give(spareMib)
    this.#options.logger.warn('spare.died', { instanceId: spare.id, snapshot: supply.snapshot.id })
    this.#options.onShort()
  }

  async #drop(supply: Supply): Promise<void> {
    this.#supplies.delete(supply.snapshot.id)
    await Promise.all(supply.ready.splice(0).map((spare) => this.#kill(spare)))
  }

  /** Gives back what it counted, too. */
  async #kill({ id, prespawned }: Spare): Promise<void> {
    this.#options.budget.give(spareMib)
    await prespawned.kill().catch((error: unknown) => {
      this.#options.logger.error('spare.kill.failed', { instanceId: id, error: String(error) })
    })
  }
}
