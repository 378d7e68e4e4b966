import type { Clock } from '../../domain/clock.ts'
import { TokenBucket } from '../token-bucket.ts'
import { lineBytesMax, type StreamCode } from './log-line.ts'

export interface LogIntakeOptions {
  readonly clock: Clock
  readonly bytesPerSecond: number
  readonly emit: (code: StreamCode, invocation: string | null, text: string) => void
  /** The instance writes far more than it may: its channels should rest for a moment, so that reading and dropping does not eat the platform's time. */
  readonly rest: (ms: number) => void
}

interface Partial {
  readonly invocation: string | null
  parts: Buffer[]
  bytes: number
}

/** A line without an end is shown after this long all the same. */
const partialMs = 1_000
const restMs = 100

/** From the output of one Instance to lines: joins pieces, cuts lines that are too long, makes bytes valid UTF-8, and drops
 *  what is over `bytesPerSecond` (one second's worth may come at once), saying how much. */
export class LogIntake {
  readonly #options: LogIntakeOptions
  readonly #partials: (Partial | null)[] = [null, null, null, null]
  readonly #allowance: TokenBucket
  #droppedBytes = 0
  #isWaiting = false

  constructor(options: LogIntakeOptions) {
    this.#options = options
    this.#allowance = new TokenBucket(options.clock, options.bytesPerSecond)
  }

  /** `isRaw`: from the supervisor's pipes, which have partial lines of their own. `text` is copied where it is kept. */
  write(text: Buffer, from: { fd: 1 | 2; isRaw: boolean; invocation: string | null }): void {
    if (!this.#admit(text.length)) return
    const slot = (from.isRaw ? 2 : 0) + from.fd - 1
    const code = from.fd === 1 ? 'o' : 'e'
    let at = 0
    for (let end = text.indexOf(10); end >= 0; end = text.indexOf(10, at)) {
      this.#line(slot, code, { invocation: from.invocation, text: text.subarray(at, end) })
      at = end + 1
    }
    if (at < text.length) this.#hold(slot, code, { invocation: from.invocation, text: text.subarray(at) })
  }

  /** Shows what has no line end yet, and what was dropped: at the end of an invocation. Raw output may still be on its way by then. */
  flush(of: 'all' | 'language' | 'raw' = 'all'): void {
    const end = of === 'language' ? 2 : 4
    for (let slot = of === 'raw' ? 2 : 0; slot < end; slot++) if (this.#partials[slot] !== null) this.#complete(slot)
    this.#tellDropped()
  }

  #line(slot: number, code: StreamCode, line: { invocation: string | null; text: Buffer }): void {
    const partial = this.#partials[slot]
    if (partial === null || partial === undefined) return this.#cut(code, line)
    this.#hold(slot, code, line)
    this.#complete(slot)
  }

  #hold(slot: number, code: StreamCode, { invocation, text }: { invocation: string | null; text: Buffer }): void {
    let partial = this.#partials[slot] ?? null
    if (partial !== null && partial.invocation !== invocation) {
      this.#complete(slot)
      partial = null
    }
    partial ??= { invocation, parts: [], bytes: 0 }
    this.#partials[slot] = partial
    partial.parts.push(Buffer.from(text))
    partial.bytes += text.length
    if (partial.bytes >= lineBytesMax) this.#complete(slot)
    if (this.#isWaiting) return
    this.#isWaiting = true
    this.#options.clock.schedule(partialMs, () => {
      this.#isWaiting = false
      this.flush()
    })
  }

  #complete(slot: number): void {
    const partial = this.#partials[slot]
    this.#partials[slot] = null
    if (partial === null || partial === undefined) return
    this.#cut(slot % 2 === 0 ? 'o' : 'e', { invocation: partial.invocation, text: Buffer.concat(partial.parts) })
  }

  /** `toString` puts U+FFFD in the place of what is no UTF-8. */
  #cut(code: StreamCode, { invocation, text }: { invocation: string | null; text: Buffer }): void {
    if (text.length <= lineBytesMax) return this.#options.emit(code, invocation, text.toString())
    for (let at = 0; at < text.length; at += lineBytesMax)
      this.#options.emit(code, invocation, text.toString('utf8', at, at + lineBytesMax))
  }

  #admit(bytes: number): boolean {
    if (this.#allowance.take(bytes)) {
      if (this.#droppedBytes > 0) this.#tellDropped()
      return true
    }
    this.#droppedBytes += bytes
    if (this.#droppedBytes > this.#options.bytesPerSecond) this.#options.rest(restMs)
    return false
  }

  #tellDropped(): void {
    if (this.#droppedBytes === 0) return
    this.#options.emit('p', null, `[hearth] dropped ${this.#droppedBytes} bytes of log output`)
    this.#droppedBytes = 0
  }
}
