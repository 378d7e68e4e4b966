/** Work on the same key happens one after the other, in order of asking; a failure holds up nobody. */
export class Turns {
  readonly #last = new Map<string, Promise<unknown>>()

  async run<T>(key: string, work: () => Promise<T>): Promise<T> {
    const mine = (this.#last.get(key) ?? Promise.resolve()).then(work, work)
    this.#last.set(key, mine)
    try {
      return await mine
    } finally {
      if (this.#last.get(key) === mine) this.#last.delete(key)
    }
  }

  /** Resolves when all that was asked for `key` so far is over, however it ended. */
  async settled(key: string): Promise<void> {
    await this.#last.get(key)?.catch(() => undefined)
  }
}
