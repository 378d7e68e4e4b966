import type { ReuseMode } from '../domain/function.ts'
import type { ColdCause } from '../domain/invocation.ts'

/** Why the next start of a Version is needed: what became of the Instance before, or that the ones alive are busy. */
export class ColdCauses {
  readonly #reuse: ReuseMode
  #hasStarted = false
  /** Of the last Instance that went, until a start succeeds. */
  #lastGone: ColdCause | null = null

  constructor(reuse: ReuseMode) {
    this.#reuse = reuse
  }

  /** `others`: Instances alive or coming up. `hint`: the caller's reason for a Version that never ran here. */
  begin(others: number, hint: ColdCause | null): ColdCause {
    const cause = this.#next(others, hint)
    this.#hasStarted = true
    return cause
  }

  started(): void {
    this.#lastGone = null
  }

  /** Of an Instance that has to go though nothing is wrong with it. */
  ofLeaving({ isRetired }: { isRetired: boolean }): ColdCause {
    return isRetired && this.#reuse !== 'never' ? 'evicted' : 'reuse_never'
  }

  gone(cause: ColdCause): void {
    this.#lastGone = cause
  }

  #next(others: number, hint: ColdCause | null): ColdCause {
    if (this.#reuse === 'never' && this.#hasStarted) return 'reuse_never'
    if (this.#lastGone === 'crash') return 'crash'
    if (others > 0) return 'scaled'
    return this.#lastGone ?? (this.#hasStarted ? 'first' : (hint ?? 'first'))
  }
}
