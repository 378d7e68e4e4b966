import type { Clock, Timer } from '../domain/clock.ts'

/** One timer for many moments: `at` only moves it when the moment is earlier than what is set, so that it costs a comparison on
 *  paths where later moments keep coming. `ring` does what is due and returns the next moment (monotonic ms), or Infinity. */
export class Alarm {
  readonly #clock: Clock
  readonly #ring: (nowMs: number) => number
  #dueMs = Infinity
  #timer: Timer | null = null

  constructor(clock: Clock, ring: (nowMs: number) => number) {
    this.#clock = clock
    this.#ring = ring
  }

  at(dueMs: number): void {
    if (dueMs >= this.#dueMs) return
    this.#timer?.cancel()
    this.#set(dueMs)
  }

  stop(): void {
    this.#timer?.cancel()
    this.#dueMs = Infinity
  }

  #set(dueMs: number): void {
    this.#dueMs = dueMs
    // A timer may fire up to 1 ms early: aim behind the moment, so that one call finds it due.
    const delayMs = Math.max(0, Math.ceil(dueMs - this.#clock.monotonicMs()))
    this.#timer = this.#clock.schedule(delayMs, () => {
      this.#dueMs = Infinity
      this.#timer = null
      const next = this.#ring(this.#clock.monotonicMs())
      if (next < this.#dueMs) this.at(next)
    })
  }
}
