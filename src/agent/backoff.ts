import type { AttemptResult } from '../domain/agent.ts'
import type { Failure } from './failures.ts'

/** After this many failed starts in a row a Version waits before the next, twice as long each time. */
const failuresMax = 3
const waitMs = { first: 1_000, max: 60_000 }

/** Keeps a Version that cannot start from taking the node's time. All times are monotonic ms. */
export class Backoff {
  #failures = 0
  #last: Failure | null = null
  #notBeforeMs = 0

  failed(failure: Failure, nowMs: number): void {
    this.#failures++
    this.#last = failure
    const step = this.#failures - failuresMax
    if (step >= 0) this.#notBeforeMs = nowMs + Math.min(waitMs.max, waitMs.first * 2 ** step)
  }

  succeeded(): void {
    this.#failures = 0
  }

  get untilMs(): number {
    return this.#notBeforeMs
  }

  isOn(nowMs: number): boolean {
    return nowMs < this.#notBeforeMs
  }

  refusal(key: string, nowMs: number): NonNullable<AttemptResult['refused']> {
    const retryAfterMs = Math.max(1, Math.ceil(this.#notBeforeMs - nowMs))
    const last = this.#last?.error.errorMessage ?? 'unknown'
    const message = `The last ${this.#failures} starts of ${key} failed; the next is tried in ${retryAfterMs} ms. Last error: ${last}`
    return { code: 'backoff', message, retryAfterMs }
  }
}
