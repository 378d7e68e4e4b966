'use strict'
/* Frames of the guest protocol: a 12-byte header and at most 64 KiB. Specified in docs/reference/guest-protocol.md; twins:
 * src/wire/, guest/src/wire.rs, runtimes/python/hearth_wire.py. All four run test/wire/vectors.json. */

const headerBytes = 12
const payloadBytesMax = 65536
const windowBytes = 262144
const creditStepBytes = 65536

const Type = {
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
}
const Flag = { fin: 1, openWork: 2, pong: 1 }

const zero = (stream) => stream === 0
const odd = (stream) => (stream & 1) === 1
const even = (stream) => (stream & 1) === 0 && stream !== 0
const notZero = (stream) => stream !== 0
const zeroOrOdd = (stream) => stream === 0 || odd(stream)
const any = () => true

/** By type: the streams it may be on, and the values its flags may have. */
const rules = [
  undefined,
  [zero, [0]],
  [zero, [0]],
  [zero, [0]],
  [zero, [0]],
  [odd, [0]],
  [odd, [0]],
  [notZero, [0, 1, 3]],
  [notZero, [0]],
  [notZero, [0, 1, 2, 3]],
  [any, [0, 1, 2, 3]],
  [odd, [0]],
  [zeroOrOdd, [1, 2]],
  [even, [0]],
  [notZero, [0]],
  [zero, [0, 1]],
  [zero, [0]],
  [zero, [0]],
  [zero, [0]],
  [zero, [0]],
  // Reserved for EXEC and STDIN.
  undefined,
  undefined,
  [zero, [0, 1]],
]

class WireError extends Error {
  constructor(kind, message) {
    super(message)
    this.name = 'WireError'
    this.kind = kind
  }
}

function encodeFrame(type, flags, stream, payload = '') {
  const length = typeof payload === 'string' ? Buffer.byteLength(payload) : payload.length
  if (length > payloadBytesMax) throw new WireError('length', `A frame of ${length} bytes does not exist.`)
  const frame = Buffer.allocUnsafe(headerBytes + length)
  frame[0] = type
  frame[1] = flags
  frame[2] = 0
  frame[3] = 0
  frame.writeUInt32BE(stream, 4)
  frame.writeUInt32BE(length, 8)
  if (typeof payload === 'string') frame.write(payload, headerBytes)
  else frame.set(payload, headerBytes)
  return frame
}

/** Cuts a byte stream into frames, however it is split. A payload in one chunk is handed out as a view of it. */
class FrameDecoder {
  constructor(receive) {
    this.receive = receive
    this.header = Buffer.alloc(headerBytes)
    this.headerFilled = 0
    this.payload = null
    this.payloadFilled = 0
  }

  push(chunk) {
    let at = 0
    while (at < chunk.length) {
      if (this.payload !== null) {
        at += this.fillPayload(chunk, at)
        continue
      }
      if (this.headerFilled > 0 || chunk.length - at < headerBytes) {
        const taken = chunk.copy(this.header, this.headerFilled, at)
        at += taken
        this.headerFilled += taken
        if (this.headerFilled === headerBytes) this.expect(checkHeader(this.header, 0))
        continue
      }
      const length = checkHeader(chunk, at)
      const end = at + headerBytes + length
      if (end > chunk.length) {
        chunk.copy(this.header, 0, at, at + headerBytes)
        this.expect(length)
        at += headerBytes
      } else {
        this.emit(chunk, at, chunk.subarray(at + headerBytes, end))
        at = end
      }
    }
  }

  expect(length) {
    this.headerFilled = 0
    if (length === 0) return this.emit(this.header, 0, Buffer.alloc(0))
    this.payload = Buffer.allocUnsafeSlow(length)
    this.payloadFilled = 0
  }

  fillPayload(chunk, at) {
    const payload = this.payload
    const taken = chunk.copy(payload, this.payloadFilled, at)
    this.payloadFilled += taken
    if (this.payloadFilled === payload.length) {
      this.payload = null
      this.emit(this.header, 0, payload)
    }
    return taken
  }

  emit(header, at, payload) {
    this.receive(header[at], header[at + 1], header.readUInt32BE(at + 4), payload)
  }
}

/** Returns the payload length of a header that keeps the rules. */
function checkHeader(bytes, at) {
  const type = bytes[at]
  const rule = rules[type]
  if (rule === undefined) throw new WireError('type', `Unknown frame type ${type}.`)
  if (!rule[1].includes(bytes[at + 1])) throw new WireError('flags', `Type ${type} with flags ${bytes[at + 1]}.`)
  if (bytes[at + 2] !== 0 || bytes[at + 3] !== 0) throw new WireError('reserved', 'Reserved bytes are set.')
  const stream = bytes.readUInt32BE(at + 4)
  if (!rule[0](stream)) throw new WireError('stream', `Type ${type} on stream ${stream}.`)
  const length = bytes.readUInt32BE(at + 8)
  const isFine = type === Type.credit ? length === 4 : type === Type.ping ? length <= 64 : length <= payloadBytesMax
  if (!isFine) throw new WireError('length', `Type ${type} of ${length} bytes.`)
  return length
}

/** Sends frames on a socket: those of one tick in one write. */
class FrameWriter {
  constructor(socket) {
    this.socket = socket
    this.queue = []
    this.flushQueued = () => this.flush()
  }

  send(type, flags, stream, payload) {
    if (this.queue.length === 0) process.nextTick(this.flushQueued)
    this.queue.push(encodeFrame(type, flags, stream, payload))
  }

  /** Hands everything to the kernel now, as far as it takes it. Returns false when the host is slow to read. */
  flush() {
    const queue = this.queue
    if (queue.length === 0) return !this.socket.writableNeedDrain
    this.queue = []
    return this.socket.write(queue.length === 1 ? queue[0] : Buffer.concat(queue))
  }
}

/** The sending half of one stream: queues what credit does not cover. */
class SendHalf {
  constructor(writer, stream) {
    this.writer = writer
    this.stream = stream
    this.credit = windowBytes
    this.queue = []
    this.finFlags = -1
    this.onDrain = null
  }

  get isBlocked() {
    return this.queue.length > 0
  }

  write(chunk) {
    if (chunk.length > 0) this.queue.push(chunk)
    this.pump()
  }

  /** Ends the stream after what is queued; `flags` includes FIN. */
  end(flags) {
    this.finFlags = flags
    this.pump()
  }

  grant(bytes) {
    this.credit += bytes
    this.pump()
    if (this.queue.length === 0 && this.onDrain !== null) {
      const drained = this.onDrain
      this.onDrain = null
      drained()
    }
  }

  pump() {
    while (this.queue.length > 0) {
      const chunk = this.queue[0]
      const length = Math.min(chunk.length, payloadBytesMax, this.credit)
      if (length === 0) return
      if (length === chunk.length) this.queue.shift()
      else this.queue[0] = chunk.subarray(length)
      this.credit -= length
      const flags = this.queue.length === 0 && this.finFlags > 0 ? this.finFlags : 0
      if (flags !== 0) this.finFlags = -1
      this.writer.send(Type.data, flags, this.stream, chunk.subarray(0, length))
    }
    if (this.finFlags < 0) return
    this.writer.send(Type.end, this.finFlags, this.stream)
    this.finFlags = -1
  }
}

module.exports = {
  Type,
  Flag,
  WireError,
  FrameDecoder,
  FrameWriter,
  SendHalf,
  encodeFrame,
  payloadBytesMax,
  windowBytes,
  creditStepBytes,
}
