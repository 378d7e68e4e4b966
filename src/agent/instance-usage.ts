import type { Clock } from '../domain/clock.ts'
import type { Usage } from '../domain/driver.ts'

/** Whose use it is: an execution. */
export interface Consumer {
  noteUsage(usage: Usage): void
}

export interface InstanceUsageOptions {
  readonly clock: Clock
  /** The peak is that since the last time, and counts anew from here on. */
  readonly stats: () => Promise<Usage>
  /** What runs now. */
  readonly consumers: () => Iterable<Consumer>
  readonly failed: (error: unknown) => void
}

/** A reading takes the launcher 0.1 ms, a busy guest some ms. */
const readingMsMax = 1_000

/** What an Instance holds, and what those use that run on it. */
export class InstanceUsage {
  /** When it was read last; 0 before. */
  memoryMib = 0
  ephemeralBytes = 0
  /** What its machine took of the host; 0 where that is no other figure. */
  hostMib = 0
  /** Something ran since it was read last. */
  isStale = false
  readonly #options: InstanceUsageOptions
  #reading: Promise<Usage | null> | null = null

  constructor(options: InstanceUsageOptions) {
    this.#options = options
  }

  /** Null when it cannot be read. Never rejects. Whoever runs when it is called is told. */
  read(): Promise<Usage | null> {
    this.isStale = false
    const reading = this.#read([...this.#options.consumers()]).finally(() => {
      if (this.#reading === reading) this.#reading = null
    })
    this.#reading = reading
    return reading
  }

  /** As `read`, but null when it takes long. */
  readSoon(): Promise<Usage | null> {
    return this.#soon(this.read())
  }

  /** Resolves when it is known what it holds since it last ran, or after a while; null when that is known. */
  settled(): Promise<unknown> | null {
    if (this.isStale) return this.readSoon()
    return this.#reading === null ? null : this.#soon(this.#reading)
  }

  async #read(consumers: readonly Consumer[]): Promise<Usage | null> {
    try {
      const usage = await this.#options.stats()
      this.memoryMib = mibOf(usage.memoryBytes)
      this.ephemeralBytes = usage.ephemeralBytes
      this.hostMib = mibOf(usage.hostBytes ?? 0)
      for (const consumer of consumers) consumer.noteUsage(usage)
      return usage
    } catch (error) {
      this.#options.failed(error)
      return null
    }
  }

  #soon(reading: Promise<Usage | null>): Promise<Usage | null> {
    const late = Promise.withResolvers<null>()
    const timer = this.#options.clock.schedule(readingMsMax, () => late.resolve(null))
    return Promise.race([reading, late.promise]).finally(() => timer.cancel())
  }
}

export function mibOf(bytes: number): number {
  return Math.ceil(bytes / 2 ** 20)
}
