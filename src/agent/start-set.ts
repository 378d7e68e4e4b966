import type { Start } from './start.ts'

/** The starts of one Version that are under way; tells of each that ended without an Instance: what was reserved for it is free. */
export class StartSet {
  readonly #all = new Set<Start>()
  readonly #onVain: () => void

  constructor(onVain: () => void) {
    this.#onVain = onVain
  }

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

  /** It brought up an Instance. */
  succeeded(start: Start): void {
    this.#all.delete(start)
  }

  failed(start: Start): void {
    this.#all.delete(start)
    this.#onVain()
  }

  /** False when it was not among them. */
  cancel(start: Start): boolean {
    if (!this.#all.delete(start)) return false
    start.cancel()
    this.#onVain()
    return true
  }

  /** What they bring up serves nobody after its first invocation. */
  retire(): void {
    for (const { instance } of this.#all) if (instance !== null) instance.isRetired = true
  }

  /** Gives up at most `surplus` of those that cost nothing but a place in a queue, the newest first. */
  trim(surplus: number): void {
    if (surplus <= 0) return
    const given = [...this.#all].filter((start) => start.isClaiming).slice(-surplus)
    for (const start of given.reverse()) this.cancel(start)
  }
}
