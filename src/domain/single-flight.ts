/** Work that is done once at a time for a key: whoever asks while it is under way gets the same promise. */
export class SingleFlight<T> {
  readonly #flights = new Map<string, Promise<T>>()

  run(key: string, work: () => Promise<T>): Promise<T> {
    const flight = this.#flights.get(key)
    if (flight !== undefined) return flight
    const started = work().finally(() => this.#flights.delete(key))
    this.#flights.set(key, started)
    return started
  }

  /** Resolves when nothing is under way for `key`, however it ended. */
  async settled(key: string): Promise<void> {
    await this.#flights.get(key)?.catch(() => undefined)
  }
}
