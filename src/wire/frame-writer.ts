import type { Writable } from 'node:stream'
import { FrameType, headerBytes, payloadBytesMax, payloadLength, writeFrame, writeHeader } from './frame.ts'

/** In a write of more than one frame's worth, a payload above this is not copied behind its header. */
const copyBytesMax = 4_096

interface Queued {
  readonly type: FrameType
  readonly flags: number
  readonly stream: number
  readonly payload: Uint8Array | string
  readonly length: number
}

/** Collects the frames of one tick and writes them at once: INVOKE and a short event leave as one buffer in one system call. */
export class FrameWriter {
  readonly #channel: Writable
  readonly #flush = (): void => this.flush()
  #queue: Queued[] = []
  #queuedBytes = 0
  #isHeld = false

  constructor(channel: Writable) {
    this.#channel = channel
  }

  /** Bytes handed over that the peer has not taken yet. */
  get pendingBytes(): number {
    return this.#queuedBytes + this.#channel.writableLength
  }

  /** Sends one frame; `payload` must not change until it has left. Throws WireError length. */
  frame(type: FrameType, flags: number, stream: number, payload: Uint8Array | string = ''): void {
    const length = payloadLength(type, payload)
    if (this.#queue.length === 0) process.nextTick(this.#flush)
    this.#queue.push({ type, flags, stream, payload, length })
    this.#queuedBytes += headerBytes + length
  }

  credit(stream: number, bytes: number): void {
    const payload = Buffer.allocUnsafe(4)
    payload.writeUInt32BE(bytes)
    this.frame(FrameType.credit, 0, stream, payload)
  }

  /** Nothing leaves until `release`. */
  hold(): void {
    this.#isHeld = true
  }

  /** Writes what was held back. */
  release(): void {
    if (!this.#isHeld) return
    this.#isHeld = false
    this.flush()
  }

  /** Writes what this tick collected without waiting for its end. */
  flush(): void {
    const queue = this.#queue
    const bytes = this.#queuedBytes
    if (bytes === 0 || this.#isHeld) return
    this.#queue = []
    this.#queuedBytes = 0
    if (this.#channel.destroyed || this.#channel.writableEnded) return
    if (bytes <= payloadBytesMax) this.#channel.write(joined(queue, bytes))
    else {
      this.#channel.cork()
      for (const frame of queue) this.#writeAlone(frame)
      this.#channel.uncork()
    }
  }

  #writeAlone(frame: Queued): void {
    const { payload, length } = frame
    if (typeof payload === 'string' || length <= copyBytesMax) {
      this.#channel.write(joined([frame], headerBytes + length))
      return
    }
    const header = Buffer.allocUnsafe(headerBytes)
    writeHeader(header, 0, frame)
    this.#channel.write(header)
    this.#channel.write(payload)
  }
}

function joined(frames: readonly Queued[], bytes: number): Buffer {
  const target = Buffer.allocUnsafe(bytes)
  let at = 0
  for (const frame of frames) at = writeFrame(target, at, frame)
  return target
}
