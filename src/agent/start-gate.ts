import { availableParallelism } from 'node:os'
import type { Clock, Timer } from '../domain/clock.ts'

/** A start that wants its turn. Those of one group are alike: whichever comes up serves the group's oldest waiter. */
export interface Applicant {
  /** The Version's group, compared by identity. */
  readonly group: StartGroup
  /** Called once, maybe before `enter` returns. */
  readonly begin: () => void
}

/** What decides whose start is next. */
export interface StartGroup {
  /** Instances that can serve its waiters. */
  readonly live: { readonly size: number }
  /** Deadline of whoever waits longest (monotonic ms); Infinity when nobody does. */
  readonly dueMs: number
}

/** Held by a start from `enter` until it is over. */
export interface Pass {
  /** Withdraws while it waits, else makes room for the next. Safe to call twice. */
  leave(): void
}

/** A start waits for disk and wake-ups for a part of its time: a few more than there are processors keep these busy. */
export const startsMax = Math.max(4, availableParallelism() * 2)

/** What takes longer waits for something else than a processor, most likely: the next may begin. Without this, a few functions that hang
 *  while they load would hold up everybody's starts. */
const holdMsMax = 500

/** How many starts are under way at a time on this node. More than there are processors for only delay one another, and the Instance that
 *  comes up first serves others who wait. A Version without an Instance goes before one that has some or is starting some; among equals
 *  the one whose waiters have least time left. Finding the next is O(groups that wait), beside a start's 5 ms and more. */
export class StartGate {
  readonly #max: number
  readonly #clock: Clock
  readonly #waiting = new Map<StartGroup, Entry[]>()
  readonly #begun = new Map<StartGroup, number>()
  #used = 0

  constructor({ max = startsMax, clock }: { max?: number; clock: Clock }) {
    this.#max = max
    this.#clock = clock
  }

  enter({ group, begin }: Applicant): Pass {
    const entry: Entry = { group, begin, timer: null, state: 'waiting' }
    if (this.#used < this.#max) this.#begin(entry)
    else this.#queueOf(group).push(entry)
    return { leave: () => this.#leave(entry) }
  }

  #queueOf(group: StartGroup): Entry[] {
    const known = this.#waiting.get(group)
    if (known !== undefined) return known
    const queue: Entry[] = []
    this.#waiting.set(group, queue)
    return queue
  }

  #begin(entry: Entry): void {
    this.#used++
    this.#begun.set(entry.group, (this.#begun.get(entry.group) ?? 0) + 1)
    entry.state = 'begun'
    entry.timer = this.#clock.schedule(holdMsMax, () => {
      // It counts for its group still, while it lasts.
      entry.state = 'slow'
      this.#makeRoom()
    })
    entry.begin()
  }

  #leave(entry: Entry): void {
    const { state, group } = entry
    entry.timer?.cancel()
    entry.state = 'over'
    if (state === 'waiting') this.#withdraw(entry)
    if (state === 'begun' || state === 'slow') this.#forget(group)
    if (state === 'begun') this.#makeRoom()
  }

  #withdraw(entry: Entry): void {
    const queue = this.#queueOf(entry.group).filter((other) => other !== entry)
    if (queue.length === 0) this.#waiting.delete(entry.group)
    else this.#waiting.set(entry.group, queue)
  }

  #makeRoom(): void {
    this.#used--
    while (this.#used < this.#max) {
      const next = this.#next()
      if (next === null) return
      this.#begin(next)
    }
  }

  #forget(group: StartGroup): void {
    const begun = (this.#begun.get(group) ?? 1) - 1
    if (begun === 0) this.#begun.delete(group)
    else this.#begun.set(group, begun)
  }

  #next(): Entry | null {
    let best: StartGroup | null = null
    for (const group of this.#waiting.keys()) if (best === null || this.#isBefore(group, best)) best = group
    if (best === null) return null
    const queue = this.#waiting.get(best)
    const entry = queue?.shift() ?? null
    if (queue?.length === 0) this.#waiting.delete(best)
    return entry
  }

  #isBefore(a: StartGroup, b: StartGroup): boolean {
    const [own, other] = [this.#served(a), this.#served(b)]
    return own === other ? a.dueMs < b.dueMs : own < other
  }

  /** How well its waiters are served already. */
  #served(group: StartGroup): number {
    return group.live.size + (this.#begun.get(group) ?? 0)
  }
}

interface Entry {
  readonly group: StartGroup
  readonly begin: () => void
  timer: Timer | null
  state: 'waiting' | 'begun' | 'slow' | 'over'
}
