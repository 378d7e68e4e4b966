import type { FunctionError } from '../domain/invocation.ts'
import { ReceiveHalf, SendHalf } from './flow.ts'
import { Flag, frameName, FrameType } from './frame.ts'
import type { FrameWriter } from './frame-writer.ts'
import { parseFail, parseHead } from './messages.ts'
import { WireError } from './wire-error.ts'

/** What comes back. Exactly one of `onEnd` and `onFail`; with `openWork` one `onIdle` follows. */
export interface InvokeHandlers {
  onHead(head: { status: number; headers: [string, string][] }): void
  /** `chunk` is a view of what was read; give its length back by `credit` once it is consumed. */
  onData(chunk: Buffer): void
  onEnd(openWork: boolean): void
  onFail(error: FunctionError, openWork: boolean): void
  onIdle(): void
  /** The guest consumed `bytes` of the event. */
  onCredit?(bytes: number): void
}

export interface InvokeStream {
  readonly id: number
  /** Sends a piece of the event, now or when credit allows; `chunk` must not change after. `last` ends it. */
  write(chunk: Uint8Array, last: boolean): void
  /** The consumer took `bytes` of the result: the guest may send as many more. */
  credit(bytes: number): void
  /** Asks the guest to stop; it still answers with an end or a failure. */
  cancel(reason: string): void
}

/*  open --HEAD--> open --DATA*--> --END, FIN, FAIL--> ended, or with OPEN_WORK: lingering --IDLE--> ended  */

/** One invocation on a HostLink. */
export class Invocation implements InvokeStream {
  readonly id: number
  readonly #writer: FrameWriter
  readonly #handlers: InvokeHandlers
  readonly #send: SendHalf
  readonly #receive: ReceiveHalf
  #isHeadAllowed = true
  #isOver = false

  constructor(writer: FrameWriter, id: number, handlers: InvokeHandlers) {
    this.#writer = writer
    this.id = id
    this.#handlers = handlers
    this.#send = new SendHalf(writer, id)
    this.#receive = new ReceiveHalf(writer, id)
  }

  write(chunk: Uint8Array, last: boolean): void {
    this.#send.write(chunk, last)
  }

  credit(bytes: number): void {
    this.#receive.take(bytes)
  }

  cancel(reason: string): void {
    if (this.#isOver) return
    this.#send.abort()
    this.#writer.frame(FrameType.cancel, 0, this.id, JSON.stringify({ reason: reason.slice(0, 1024) }))
  }

  /** Whether nothing can follow this frame. */
  isLast(type: FrameType, flags: number): boolean {
    if (type === FrameType.idle) return true
    const isEnd = type === FrameType.end || type === FrameType.fail || (type === FrameType.data && flags !== 0)
    return isEnd && (flags & Flag.openWork) === 0
  }

  /** One frame of the guest. Throws WireError. */
  receive(type: FrameType, flags: number, payload: Buffer): void {
    switch (type) {
      case FrameType.data:
        return this.#receiveData(flags, payload)
      case FrameType.head:
        return this.#receiveHead(payload)
      case FrameType.end:
        this.#end(type, flags)
        return this.#handlers.onEnd((flags & Flag.openWork) !== 0)
      case FrameType.fail: {
        const { errorType, errorMessage, stackTrace } = parseFail(payload)
        this.#end(type, flags)
        return this.#handlers.onFail({ errorType, errorMessage, stackTrace }, (flags & Flag.openWork) !== 0)
      }
      case FrameType.idle:
        return this.#receiveIdle()
      case FrameType.credit:
        return this.#receiveCredit(payload.readUInt32BE(0))
      case FrameType.cancel:
        return this.#send.abort()
      default:
        throw new WireError('stream', `${frameName(type)} on stream ${this.id}.`)
    }
  }

  #receiveData(flags: number, payload: Buffer): void {
    this.#receive.receive(payload.length)
    this.#isHeadAllowed = false
    if (payload.length > 0) this.#handlers.onData(payload)
    if (flags === 0) return
    this.#end(FrameType.data, flags)
    this.#handlers.onEnd((flags & Flag.openWork) !== 0)
  }

  #receiveCredit(bytes: number): void {
    this.#send.grant(bytes)
    this.#handlers.onCredit?.(bytes)
  }

  #receiveHead(payload: Buffer): void {
    if (!this.#isHeadAllowed) throw new WireError('phase', `HEAD on stream ${this.id} after DATA or another HEAD.`)
    this.#isHeadAllowed = false
    this.#handlers.onHead(parseHead(payload))
  }

  #receiveIdle(): void {
    if (!this.#receive.isEnded || this.#isOver)
      throw new WireError('phase', `IDLE on stream ${this.id} without OPEN_WORK.`)
    this.#isOver = true
    this.#handlers.onIdle()
  }

  #end(type: FrameType, flags: number): void {
    if (this.#receive.isEnded) throw new WireError('phase', `${frameName(type)} on stream ${this.id} after its end.`)
    this.#receive.isEnded = true
    this.#isHeadAllowed = false
    this.#isOver = (flags & Flag.openWork) === 0
    this.#send.abort()
  }
}
