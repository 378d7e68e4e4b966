/** Counts who holds what. Tells of a key that nobody holds any more when the last one lets it go. */
export class Holds<K> {
  readonly #counts = new Map<K, number>()
  readonly #onFree: (key: K) => void

  constructor(onFree: (key: K) => void) {
    this.#onFree = onFree
  }

  has(key: K): boolean {
    return this.#counts.has(key)
  }

  /** Until `letGo`, called once for each call of this. */
  hold(key: K): void {
    this.#counts.set(key, (this.#counts.get(key) ?? 0) + 1)
  }

  letGo(key: K): void {
    const count = (this.#counts.get(key) ?? 0) - 1
    if (count > 0) return void this.#counts.set(key, count)
    this.#counts.delete(key)
    this.#onFree(key)
  }

  /** The keys are held until `work` is over, however it ends. */
  async during<T>(keys: readonly K[], work: () => Promise<T>): Promise<T> {
    for (const key of keys) this.hold(key)
    try {
      return await work()
    } finally {
      for (const key of keys) this.letGo(key)
    }
  }
}
