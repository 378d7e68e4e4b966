/** What this node may promise its Instances. Counts limits, not use; a frozen Instance counts what it really holds. */
export class MemoryBudget {
  readonly totalMib: number
  readonly #changed: (freeMib: number) => void
  #usedMib = 0

  constructor(totalMib: number, changed: (freeMib: number) => void) {
    this.totalMib = totalMib
    this.#changed = changed
  }

  get freeMib(): number {
    return Math.max(0, this.totalMib - this.#usedMib)
  }

  tryTake(mib: number): boolean {
    if (this.#usedMib + mib > this.totalMib) return false
    this.take(mib)
    return true
  }

  /** Takes even what is not there: for an Instance that thaws and must not be refused. */
  take(mib: number): void {
    this.#usedMib += mib
    this.#changed(this.freeMib)
  }

  give(mib: number): void {
    this.#usedMib -= mib
    this.#changed(this.freeMib)
  }
}
