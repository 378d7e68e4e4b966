/* Frames of the guest protocol: a 12-byte header and at most 64 KiB. Specified in docs/reference/guest-protocol.md; twins:
 * guest/src/wire.rs, runtimes/node/wire.cjs, runtimes/python/hearth_wire.py. All four run test/wire/vectors.json. */

import assert from 'node:assert'
import { WireError } from './wire-error.ts'

export const headerBytes = 12
export const payloadBytesMax = 65_536
export const pingBytesMax = 64

export const FrameType = {
  hello: 1,
  configure: 2,
  bind: 3,
  ready: 4,
  invoke: 5,
  head: 6,
  data: 7,
  credit: 8,
  end: 9,
  fail: 10,
  idle: 11,
  log: 12,
  open: 13,
  cancel: 14,
  ping: 15,
  prepareSnapshot: 16,
  resume: 17,
  resumed: 18,
  shutdown: 19,
  stats: 22,
} as const
export type FrameType = (typeof FrameType)[keyof typeof FrameType]

/** `fin` ends the sender's half of a stream, `openWork` (guest) says that IDLE will follow. On LOG the flags are the descriptor, on PING and STATS 1 marks the answer. */
export const Flag = { none: 0, fin: 1, openWork: 2, pong: 1, answer: 1, stdout: 1, stderr: 2 } as const

export interface Frame {
  readonly type: FrameType
  readonly flags: number
  readonly stream: number
  readonly payload: Buffer
}

interface Rule {
  readonly type: FrameType
  readonly name: string
  readonly isStreamAllowed: (stream: number) => boolean
  readonly flags: readonly number[]
}

const zero = (stream: number): boolean => stream === 0
const odd = (stream: number): boolean => (stream & 1) === 1
const even = (stream: number): boolean => (stream & 1) === 0 && stream !== 0
const notZero = (stream: number): boolean => stream !== 0
const zeroOrOdd = (stream: number): boolean => stream === 0 || odd(stream)
const any = (): boolean => true

/** What a header may say, by type: on which streams, and with which values of the flags. */
const rules: readonly (Rule | undefined)[] = [
  undefined,
  { type: FrameType.hello, name: 'HELLO', isStreamAllowed: zero, flags: [0] },
  { type: FrameType.configure, name: 'CONFIGURE', isStreamAllowed: zero, flags: [0] },
  { type: FrameType.bind, name: 'BIND', isStreamAllowed: zero, flags: [0] },
  { type: FrameType.ready, name: 'READY', isStreamAllowed: zero, flags: [0] },
  { type: FrameType.invoke, name: 'INVOKE', isStreamAllowed: odd, flags: [0] },
  { type: FrameType.head, name: 'HEAD', isStreamAllowed: odd, flags: [0] },
  { type: FrameType.data, name: 'DATA', isStreamAllowed: notZero, flags: [0, 1, 3] },
  { type: FrameType.credit, name: 'CREDIT', isStreamAllowed: notZero, flags: [0] },
  { type: FrameType.end, name: 'END', isStreamAllowed: notZero, flags: [0, 1, 2, 3] },
  { type: FrameType.fail, name: 'FAIL', isStreamAllowed: any, flags: [0, 1, 2, 3] },
  { type: FrameType.idle, name: 'IDLE', isStreamAllowed: odd, flags: [0] },
  { type: FrameType.log, name: 'LOG', isStreamAllowed: zeroOrOdd, flags: [1, 2] },
  { type: FrameType.open, name: 'OPEN', isStreamAllowed: even, flags: [0] },
  { type: FrameType.cancel, name: 'CANCEL', isStreamAllowed: notZero, flags: [0] },
  { type: FrameType.ping, name: 'PING', isStreamAllowed: zero, flags: [0, 1] },
  { type: FrameType.prepareSnapshot, name: 'PREPARE_SNAPSHOT', isStreamAllowed: zero, flags: [0] },
  { type: FrameType.resume, name: 'RESUME', isStreamAllowed: zero, flags: [0] },
  { type: FrameType.resumed, name: 'RESUMED', isStreamAllowed: zero, flags: [0] },
  { type: FrameType.shutdown, name: 'SHUTDOWN', isStreamAllowed: zero, flags: [0] },
  // Reserved for EXEC and STDIN.
  undefined,
  undefined,
  { type: FrameType.stats, name: 'STATS', isStreamAllowed: zero, flags: [0, 1] },
]

/** Name of a frame type for messages, e.g. `HELLO`. */
export function frameName(type: number): string {
  return rules[type]?.name ?? `type ${type}`
}

/** Bytes of `payload` in a frame. Throws WireError length when they do not fit. */
export function payloadLength(type: FrameType, payload: Uint8Array | string): number {
  const length = typeof payload === 'string' ? Buffer.byteLength(payload) : payload.length
  if (length > payloadBytesMax)
    throw new WireError('length', `Cannot encode ${frameName(type)}: ${length} bytes, at most ${payloadBytesMax} fit.`)
  return length
}

/** One frame as bytes. Checks nothing but the length: the sender is us. */
export function encodeFrame(type: FrameType, flags: number, stream: number, payload: Uint8Array | string = ''): Buffer {
  const length = payloadLength(type, payload)
  const frame = Buffer.allocUnsafe(headerBytes + length)
  writeFrame(frame, 0, { type, flags, stream, payload, length })
  return frame
}

interface Header {
  readonly type: FrameType
  readonly flags: number
  readonly stream: number
  readonly length: number
}

/** Writes a frame at `at`; returns where it ends. */
export function writeFrame(target: Buffer, at: number, frame: Header & { payload: Uint8Array | string }): number {
  const { payload, length } = frame
  writeHeader(target, at, frame)
  if (typeof payload === 'string') target.write(payload, at + headerBytes)
  else target.set(payload, at + headerBytes)
  return at + headerBytes + length
}

export function writeHeader(target: Buffer, at: number, { type, flags, stream, length }: Header): void {
  target[at] = type
  target[at + 1] = flags
  target[at + 2] = 0
  target[at + 3] = 0
  target.writeUInt32BE(stream, at + 4)
  target.writeUInt32BE(length, at + 8)
}

export type FrameReceiver = (type: FrameType, flags: number, stream: number, payload: Buffer) => void

/** Cuts a byte stream into frames, however it is split. A payload that lies in one chunk is handed out as a view of it; one that
 *  spans chunks is copied once. Holds at most one frame beside the chunk. Throws WireError type, flags, reserved, stream or
 *  length at the first header that breaks the rules; the decoder is of no use after that. */
export class FrameDecoder {
  readonly #receive: FrameReceiver
  readonly #header = Buffer.allocUnsafe(headerBytes)
  #headerFilled = 0
  /** The payload being gathered over several chunks. */
  #payload: Buffer | null = null
  #payloadFilled = 0
  #isStopped = false

  constructor(receive: FrameReceiver) {
    this.#receive = receive
  }

  /** True between frames: an end of the byte stream here cuts nothing. */
  get isBetweenFrames(): boolean {
    return this.#headerFilled === 0
  }

  /** Drops everything from now on, also the rest of a chunk being pushed. */
  stop(): void {
    this.#isStopped = true
    this.#payload = null
  }

  push(chunk: Buffer): void {
    let at = this.#headerFilled === 0 ? 0 : this.#continue(chunk)
    while (!this.#isStopped && at < chunk.length) {
      if (chunk.length - at < headerBytes) {
        chunk.copy(this.#header, 0, at)
        this.#headerFilled = chunk.length - at
        return
      }
      const length = checkHeader(chunk, at)
      const end = at + headerBytes + length
      if (end > chunk.length) {
        chunk.copy(this.#header, 0, at, at + headerBytes)
        this.#headerFilled = headerBytes
        this.#gather(chunk, at + headerBytes, length)
        return
      }
      this.#emit(chunk, at, chunk.subarray(at + headerBytes, end))
      at = end
    }
  }

  /** Completes what an earlier chunk began; returns how many bytes of `chunk` that took. */
  #continue(chunk: Buffer): number {
    let at = 0
    if (this.#headerFilled < headerBytes) {
      at = chunk.copy(this.#header, this.#headerFilled, 0, headerBytes - this.#headerFilled)
      this.#headerFilled += at
      if (this.#headerFilled < headerBytes) return at
      const length = checkHeader(this.#header, 0)
      const end = at + length
      if (end <= chunk.length) {
        this.#headerFilled = 0
        this.#emit(this.#header, 0, chunk.subarray(at, end))
        return end
      }
      this.#gather(chunk, at, length)
      return chunk.length
    }
    const payload = this.#payload
    if (payload === null) return chunk.length
    const taken = chunk.copy(payload, this.#payloadFilled, 0, payload.length - this.#payloadFilled)
    this.#payloadFilled += taken
    if (this.#payloadFilled === payload.length) {
      this.#payload = null
      this.#headerFilled = 0
      this.#emit(this.#header, 0, payload)
    }
    return taken
  }

  #gather(chunk: Buffer, from: number, length: number): void {
    this.#payload = Buffer.allocUnsafeSlow(length)
    this.#payloadFilled = chunk.copy(this.#payload, 0, from)
  }

  #emit(header: Buffer, at: number, payload: Buffer): void {
    const rule = rules[header[at] ?? 0]
    assert(rule !== undefined, 'checkHeader let an unknown type pass')
    this.#receive(rule.type, header[at + 1] ?? 0, header.readUInt32BE(at + 4), payload)
  }
}

/** Returns the payload length of a header that keeps the rules. */
function checkHeader(bytes: Buffer, at: number): number {
  const type = bytes[at] ?? 0
  const rule = rules[type]
  if (rule === undefined) throw new WireError('type', `Unknown frame type ${type}.`)
  const flags = bytes[at + 1] ?? 0
  if (!rule.flags.includes(flags)) throw new WireError('flags', `${rule.name} with flags ${flags}.`)
  if (bytes[at + 2] !== 0 || bytes[at + 3] !== 0)
    throw new WireError('reserved', `${rule.name} with reserved bytes set.`)
  const stream = bytes.readUInt32BE(at + 4)
  if (!rule.isStreamAllowed(stream)) throw new WireError('stream', `${rule.name} on stream ${stream}.`)
  const length = bytes.readUInt32BE(at + 8)
  if (!isLengthAllowed(type, length)) throw new WireError('length', `${rule.name} of ${length} bytes.`)
  return length
}

function isLengthAllowed(type: number, length: number): boolean {
  if (type === FrameType.credit) return length === 4
  if (type === FrameType.ping) return length <= pingBytesMax
  return length <= payloadBytesMax
}
