import type { Writable } from 'node:stream'
import { encodeFrame, headerBytes, payloadBytesMax, writeHeader, FrameType } from './frame.ts'

/** Below this a payload is copied behind its header; above, header and payload are two buffers of one vectored write. */
const copyBytesMax = 4_096

/** Collects the frames of one tick and writes them at once: INVOKE and a short event leave in one system call. */
export class FrameWriter {
  readonly #channel: Writable
  #queue: Uint8Array[] = []
  #queuedBytes = 0

  constructor(channel: Writable) {
    this.#channel = channel
  }

  /** Bytes handed over that the peer has not taken yet. */
  get pendingBytes(): number {
    return this.#queuedBytes + this.#channel.writableLength
  }

  /** Sends one frame; `payload` must not change until it has left. */
  frame(type: FrameType, flags: number, stream: number, payload: Uint8Array | string = ''): void {
    if (typeof payload === 'string' || payload.length <= copyBytesMax || payload.length > payloadBytesMax) {
      this.#push(encodeFrame(type, flags, stream, payload))
      return
    }
    const header = Buffer.allocUnsafe(headerBytes)
    writeHeader(header, { type, flags, stream, length: payload.length })
    this.#push(header)
    this.#push(payload)
  }

  credit(stream: number, bytes: number): void {
    const payload = Buffer.allocUnsafe(4)
    payload.writeUInt32BE(bytes)
    this.#push(encodeFrame(FrameType.credit, 0, stream, payload))
  }

  /** Writes what this tick collected without waiting for its end. */
  flush(): void {
    const queue = this.#queue
    const bytes = this.#queuedBytes
    this.#queue = []
    this.#queuedBytes = 0
    const [first] = queue
    if (first === undefined || this.#channel.destroyed || this.#channel.writableEnded) return
    if (queue.length === 1) this.#channel.write(first)
    else if (bytes <= payloadBytesMax) this.#channel.write(Buffer.concat(queue, bytes))
    else {
      this.#channel.cork()
      for (const part of queue) this.#channel.write(part)
      this.#channel.uncork()
    }
  }

  #push(bytes: Uint8Array): void {
    if (this.#queue.length === 0) process.nextTick(() => this.flush())
    this.#queue.push(bytes)
    this.#queuedBytes += bytes.length
  }
}
