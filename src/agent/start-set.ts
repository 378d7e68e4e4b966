import type { Start } from './start.ts'

/** The starts of one Version that are under way. */
export class StartSet {
  readonly #all = new Set<Start>()

  get size(): number {
    return this.#all.size
  }

  /** Those that nobody was promised to yet. */
  get uncommitted(): number {
    let count = 0
    for (const start of this.#all) if (start.execution === null) count++
    return count
  }

  begin(start: Start): void {
    this.#all.add(start)
    start.begin()
  }

  /** False when it was not among them. */
  remove(start: Start): boolean {
    return this.#all.delete(start)
  }

  /** What they bring up serves nobody after its first invocation. */
  retire(): void {
    for (const { instance } of this.#all) if (instance !== null) instance.isRetired = true
  }

  /** Gives up at most `surplus` of those that cost nothing but a place in a queue, the newest first; returns how many. */
  trim(surplus: number): number {
    const given = [...this.#all].filter((start) => start.isClaiming).slice(-Math.max(0, surplus))
    if (surplus <= 0) return 0
    for (const start of given.reverse()) {
      this.#all.delete(start)
      start.cancel()
    }
    return given.length
  }
}
