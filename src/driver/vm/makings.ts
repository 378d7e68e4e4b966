import { AppError } from '../../domain/error.ts'
import type { Logger } from '../../domain/logger.ts'
import { Undo } from '../../domain/undo.ts'
import { inTime } from '../in-time.ts'

/** What has to be ended when it comes too late. */
interface Ending {
  kill(): Promise<unknown>
}

/** Machines that are being made or undone: each in its time, and none left behind when that passes or all is closed. */
export class Makings {
  readonly #logger: Logger
  readonly #closing = new AbortController()
  /** None of them rejects. */
  readonly #open = new Set<Promise<void>>()

  constructor(logger: Logger) {
    this.#logger = logger
  }

  /** What `make` gives. Throws timeout when `deadlineMs` (epoch ms) passes first, `signal` aborts or this closes; what `make` took is undone then. */
  async run<T extends Ending | null>(
    instanceId: string,
    options: { signal?: AbortSignal; deadlineMs: number; verb?: string },
    make: (undo: Undo) => Promise<T>,
  ): Promise<T> {
    const signal = AbortSignal.any([this.#closing.signal, ...(options.signal === undefined ? [] : [options.signal])])
    const late = this.#closing.signal.aborted ? 'the driver is closed' : signal.aborted ? 'it was called off' : null
    const why = late ?? (options.deadlineMs <= Date.now() ? 'the deadline passed' : null)
    if (why !== null)
      throw new AppError('timeout', `Cannot ${options.verb ?? 'boot'} instance "${instanceId}": ${why}.`)
    const undo = new Undo()
    const making = make(undo)
    const ended = Promise.withResolvers<void>()
    const gone = ended.promise.finally(() => this.#open.delete(gone))
    this.#open.add(gone)
    try {
      const made = await inTime(making, instanceId, { ...options, signal })
      undo.disarm()
      ended.resolve()
      return made
    } catch (error) {
      await this.#undo(undo, instanceId)
      // What still comes up after the deadline must go as well.
      void making
        .then((late) => late?.kill())
        .catch(() => this.#undo(undo, instanceId))
        .finally(ended.resolve)
      throw error
    }
  }

  /** From now on nothing is made; what is being made is called off. */
  stop(): void {
    this.#closing.abort()
  }

  /** Resolves when all that was called off is undone, at most `msMax` from now: an image that is being built is not waited for. */
  async settled(msMax: number): Promise<void> {
    const late = Promise.withResolvers<void>()
    const timer = setTimeout(late.resolve, msMax)
    await Promise.race([Promise.all(this.#open), late.promise])
    clearTimeout(timer)
  }

  async #undo(undo: Undo, instanceId: string): Promise<void> {
    await undo.run().catch((cause: unknown) => {
      this.#logger.error('driver.boot.undo.failed', { instanceId, error: String(cause) })
    })
  }
}
