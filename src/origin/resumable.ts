import type { OriginAddress, OriginContent } from '../domain/code-source.ts'
import type { Clock } from '../domain/clock.ts'
import type { Logger } from '../domain/logger.ts'
import { changedMeanwhile, connectionProblem, isDown, Trouble } from './trouble.ts'
import { Readable } from 'node:stream'

/** A piece of an object, from `offset` to its end. */
export interface Part {
  readonly content: Readable
  /** Where it begins: an origin that knows no ranges begins at 0. */
  readonly offset: number
  /** Size of the whole object, where the origin says. */
  readonly bytes: number | null
  readonly etag: string | null
  readonly versionId: string | null
}

/** Asks the origin for the object from `offset` on; if that is the same as the one with `etag`. Throws Trouble for what may be over soon, AppErrors for
 *  what will not. */
export type OpenPart = (from: { offset: number; etag: string | null }) => Promise<Part>

export interface Patience {
  /** How long without a byte, whether by refusals, cuts or silence, before it is given up. */
  readonly retryMs: number
  /** A connection that gives nothing for so long is cut and tried again. */
  readonly stallMs: number
  /** All of it may take so long. */
  readonly totalMs: number
}

/** How long an answer may take to begin. */
export function answerMsOf({ retryMs }: Patience): number {
  return Math.min(10_000, retryMs)
}

export interface ResumableOptions {
  readonly address: OriginAddress
  readonly open: OpenPart
  readonly patience: Patience
  readonly clock: Clock
  readonly logger: Logger
}

const firstBackoffMs = 200
const backoffMsMax = 5_000

/** One object as one stream, whatever happens to the connections it comes over. */
export async function openResumable(options: ResumableOptions): Promise<OriginContent> {
  const transfer = new Transfer(options)
  const first = await transfer.openPart()
  const content = Readable.from(transfer.bytes(first), { objectMode: false })
  // One that is closed before it was read never comes to the generator's own end.
  content.once('close', () => first.content.destroy())
  return {
    content,
    bytes: first.bytes,
    etag: first.etag,
    versionId: first.versionId,
  }
}

class Transfer {
  readonly #options: ResumableOptions
  readonly #startedMs: number
  #progressMs: number
  #attempts = 0
  #offset = 0
  #first: Part | null = null

  constructor(options: ResumableOptions) {
    this.#options = options
    this.#startedMs = options.clock.monotonicMs()
    this.#progressMs = this.#startedMs
  }

  /** From where the transfer is, however often that takes. */
  async openPart(): Promise<Part> {
    const { address } = this.#options
    // What comes from the web has a hash that tells in the end.
    if (this.#offset > 0 && this.#first?.etag === null && address.kind === 's3')
      throw isDown(address, 'the transfer broke off, and without an ETag what follows may be of another object')
    for (;;) {
      try {
        const part = await this.#options.open({ offset: this.#offset, etag: this.#first?.etag ?? null })
        this.#first ??= part
        const isOther = part.etag !== this.#first.etag || part.bytes !== this.#first.bytes || part.offset > this.#offset
        if (!isOther) return part
        part.content.destroy()
        throw changedMeanwhile(this.#options.address)
      } catch (error) {
        await this.#endure(error)
      }
    }
  }

  async *bytes(first: Part): AsyncGenerator<Uint8Array> {
    for (let part = first; ; part = await this.openPart()) {
      try {
        yield* this.#rest(part)
        if (this.#isWhole(part)) return
        throw new Trouble(`the transfer broke off at ${this.#offset} of ${part.bytes} bytes`)
      } catch (error) {
        // Cut after its last byte: nothing is missing.
        if (part.bytes !== null && this.#isWhole(part)) return
        await this.#endure(error)
      }
    }
  }

  async *#rest(part: Part): AsyncGenerator<Uint8Array> {
    let toSkip = this.#offset - part.offset
    const { clock, patience } = this.#options
    const { stallMs, totalMs } = patience
    const stalled = (): void => void part.content.destroy(new Trouble(`nothing came for ${stallMs / 1_000} s`))
    let timer = clock.schedule(stallMs, stalled)
    try {
      for await (const chunk of part.content) {
        timer.cancel()
        // A trickle is progress, but not for ever.
        if (clock.monotonicMs() - this.#startedMs >= totalMs) throw new Trouble('it takes too long')
        const bytes: Uint8Array = chunk
        const wanted = toSkip >= bytes.length ? null : bytes.subarray(toSkip)
        toSkip = Math.max(0, toSkip - bytes.length)
        if (wanted !== null) {
          this.#offset += wanted.length
          this.#progressMs = clock.monotonicMs()
          // The reader's time is not the origin's.
          yield wanted
        }
        timer = clock.schedule(stallMs, stalled)
      }
    } finally {
      timer.cancel()
      part.content.destroy()
    }
  }

  #isWhole({ bytes }: Part): boolean {
    return bytes === null || this.#offset >= bytes
  }

  /** Waits until the next attempt; throws when there is none to be. */
  async #endure(error: unknown): Promise<void> {
    const { address, clock, logger, patience } = this.#options
    const problem = error instanceof Trouble ? error.message : connectionProblem(error)
    if (problem === null) throw error
    this.#attempts++
    const nowMs = clock.monotonicMs()
    const isOver = nowMs - this.#progressMs >= patience.retryMs || nowMs - this.#startedMs >= patience.totalMs
    if (isOver) {
      const seconds = Math.round((nowMs - this.#startedMs) / 1_000)
      const where = this.#first === null ? '' : `, and ${this.#offset} of ${this.#first.bytes ?? 'unknown'} bytes came`
      throw isDown(address, `${problem} (tried ${this.#attempts} times in ${seconds} s${where})`)
    }
    logger.warn('origin.retry', { source: address.source, attempts: this.#attempts, offset: this.#offset, problem })
    const backoffMs = Math.min(backoffMsMax, firstBackoffMs * 2 ** Math.min(10, this.#attempts - 1))
    await new Promise<void>((resolve) => void clock.schedule(backoffMs, resolve))
  }
}
