import { Flag, FrameType, payloadBytesMax } from './frame.ts'
import type { FrameWriter } from './frame-writer.ts'
import { WireError } from './wire-error.ts'

/** Credit that each half of a stream starts with. */
export const windowBytes = 262_144
/** Credit is given back in steps of at least this, so that a short body costs no CREDIT frame. */
export const creditStepBytes = 65_536

/** The sending half of a stream: queues what its credit does not cover, in order. */
export class SendHalf {
  readonly #writer: FrameWriter
  readonly #stream: number
  #credit = windowBytes
  #queue: Uint8Array[] = []
  #isLastQueued = false
  #isEnded = false
  /** Called when the queue has become empty by a grant. */
  onDrained: (() => void) | null = null

  constructor(writer: FrameWriter, stream: number) {
    this.#writer = writer
    this.#stream = stream
  }

  /** The FIN has left, or nothing more will. */
  get isEnded(): boolean {
    return this.#isEnded
  }

  get isBlocked(): boolean {
    return this.#queue.length > 0
  }

  write(chunk: Uint8Array, last: boolean): void {
    if (this.#isEnded || this.#isLastQueued) return
    if (chunk.length > 0) this.#queue.push(chunk)
    this.#isLastQueued = last
    this.#send()
  }

  /** The receiver takes `bytes` more. Throws WireError credit when it takes back more than it got: what it
   *  is owed never passes a window, which bounds what lies in the channel for a receiver that does not read. */
  grant(bytes: number): void {
    this.#credit += bytes
    if (this.#credit > windowBytes) throw new WireError('credit', `Stream ${this.#stream} was given too much credit.`)
    if (this.#queue.length === 0) return
    this.#send()
    if (this.#queue.length === 0) this.onDrained?.()
  }

  /** Forgets what was not sent: the receiver wants no more, or the stream failed. */
  abort(): void {
    this.#isEnded = true
    this.#queue = []
  }

  #send(): void {
    for (;;) {
      const chunk = this.#queue[0]
      if (chunk === undefined) break
      const length = Math.min(chunk.length, payloadBytesMax, this.#credit)
      if (length === 0) return
      const isWhole = length === chunk.length
      if (isWhole) this.#queue.shift()
      else this.#queue[0] = chunk.subarray(length)
      this.#credit -= length
      const isFin = this.#isLastQueued && this.#queue.length === 0
      this.#isEnded = isFin
      const part = isWhole ? chunk : chunk.subarray(0, length)
      this.#writer.frame(FrameType.data, isFin ? Flag.fin : Flag.none, this.#stream, part)
    }
    if (!this.#isLastQueued || this.#isEnded) return
    this.#isEnded = true
    this.#writer.frame(FrameType.end, Flag.fin, this.#stream)
  }
}

/** The receiving half of a stream: checks what comes against the credit given, and gives more as the consumer takes bytes. */
export class ReceiveHalf {
  readonly #writer: FrameWriter
  readonly #stream: number
  #credit = windowBytes
  #taken = 0
  isEnded = false

  constructor(writer: FrameWriter, stream: number) {
    this.#writer = writer
    this.#stream = stream
  }

  /** Throws WireError phase (after FIN) or credit (overrun). */
  receive(bytes: number): void {
    if (this.isEnded) throw new WireError('phase', `DATA on stream ${this.#stream} after its end.`)
    this.#credit -= bytes
    if (this.#credit < 0)
      throw new WireError('credit', `DATA on stream ${this.#stream} overran its credit by ${-this.#credit} bytes.`)
  }

  /** The consumer took `bytes` of what was received. */
  take(bytes: number): void {
    this.#taken += bytes
    if (this.isEnded || this.#taken < creditStepBytes) return
    const bytesFree = Math.min(this.#taken, windowBytes - this.#credit)
    this.#taken = 0
    if (bytesFree <= 0) return
    this.#credit += bytesFree
    this.#writer.credit(this.#stream, bytesFree)
  }
}
