import { Duplex } from 'node:stream'
import { ReceiveHalf, SendHalf } from './flow.ts'
import { Flag, FrameType } from './frame.ts'
import type { FrameWriter } from './frame-writer.ts'

/** The host's end of a stream that the guest opened to a host service: an ordinary Duplex with the protocol's flow control below it.
 *  Destroying it before both halves ended sends FAIL (with an error) or CANCEL. */
export class ServiceStream extends Duplex {
  readonly #writer: FrameWriter
  readonly #id: number
  readonly #send: SendHalf
  readonly #receive: ReceiveHalf
  readonly #closed: () => void
  /** Received and not yet asked for; bounded by the window. */
  #waiting: Buffer[] = []
  #isWanted = false
  #isGuestGone = false

  constructor(writer: FrameWriter, id: number, closed: () => void) {
    super({ allowHalfOpen: true })
    this.#writer = writer
    this.#id = id
    this.#closed = closed
    this.#send = new SendHalf(writer, id)
    this.#receive = new ReceiveHalf(writer, id)
  }

  /** DATA came in. Throws WireError phase or credit. */
  receiveData(chunk: Buffer, isFin: boolean): void {
    this.#receive.receive(chunk.length)
    if (chunk.length > 0) this.#waiting.push(chunk)
    if (isFin) this.#receive.isEnded = true
    this.#hand()
  }

  /** END came in. */
  receiveEnd(): void {
    this.#receive.isEnded = true
    this.#hand()
  }

  receiveCredit(bytes: number): void {
    this.#send.grant(bytes)
  }

  /** The guest wants no more of this stream, or is no more. */
  receiveCancel(): void {
    this.#isGuestGone = true
    this.destroy()
  }

  override _read(): void {
    this.#isWanted = true
    this.#hand()
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    this.#send.write(chunk, false)
    if (!this.#send.isBlocked) return done()
    this.#send.onDrained = () => {
      this.#send.onDrained = null
      done()
    }
  }

  override _final(done: () => void): void {
    this.#send.write(Buffer.alloc(0), true)
    done()
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    if (!this.#isGuestGone && !this.#send.isEnded) {
      if (error === null) this.#writer.frame(FrameType.cancel, 0, this.#id, '{"reason":"closed"}')
      else this.#writer.frame(FrameType.fail, Flag.fin, this.#id, failText(error))
    } else if (!this.#isGuestGone && !this.#receive.isEnded)
      this.#writer.frame(FrameType.cancel, 0, this.#id, '{"reason":"closed"}')
    this.#send.abort()
    this.#waiting = []
    this.#closed()
    // The error was told to the guest, which caused it or must live with it; the service logs its own.
    done(null)
  }

  #hand(): void {
    while (this.#isWanted) {
      const chunk = this.#waiting.shift()
      if (chunk === undefined) break
      this.#receive.take(chunk.length)
      this.#isWanted = this.push(chunk)
    }
    if (this.#waiting.length === 0 && this.#receive.isEnded && !this.readableEnded && this.#isWanted) {
      this.#isWanted = false
      this.push(null)
    }
  }
}

function failText(error: Error): string {
  return JSON.stringify({ errorType: 'Service.Failed', errorMessage: error.message.slice(0, 1024), stackTrace: [] })
}
