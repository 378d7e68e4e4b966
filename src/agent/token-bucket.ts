import type { Clock } from '../domain/clock.ts'

/** Lets through `perSecond` of something, one second's worth of it at once. */
export class TokenBucket {
  readonly #clock: Clock
  readonly #perSecond: number
  #tokens: number
  #filledMs: number

  constructor(clock: Clock, perSecond: number) {
    this.#clock = clock
    this.#perSecond = perSecond
    this.#tokens = perSecond
    this.#filledMs = clock.monotonicMs()
  }

  /** All of `count` or nothing. */
  take(count: number): boolean {
    const nowMs = this.#clock.monotonicMs()
    this.#tokens = Math.min(this.#perSecond, this.#tokens + ((nowMs - this.#filledMs) * this.#perSecond) / 1_000)
    this.#filledMs = nowMs
    if (this.#tokens < count) return false
    this.#tokens -= count
    return true
  }
}
