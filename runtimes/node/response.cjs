'use strict'
const { Flag, SendHalf, Type, payloadBytesMax } = require('./wire.cjs')
const { RuntimeError, describe, failText } = require('./errors.cjs')

const headersMax = 256
const headerName = /^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}$/
// eslint-disable-next-line no-control-regex
const headerValue = /^[\t\x20-\x7e\x80-\xff]{0,8192}$/

/** The answer to one invocation: HEAD at most once, then DATA, then one end. Everything after the end is dropped. */
class Response {
  constructor(writer, stream) {
    this.writer = writer
    this.stream = stream
    this.half = new SendHalf(writer, stream)
    this.isEnded = false
    this.isStarted = false
    this.isGone = false
  }

  /** Throws RuntimeError when the user's headers cannot be sent. */
  head(status, headers) {
    if (this.isStarted) throw new RuntimeError('Runtime.StreamError', 'The response has begun: its head cannot be set.')
    const text = headText(status, headers)
    this.isStarted = true
    this.writer.send(Type.head, 0, this.stream, text)
  }

  /** Sends bytes as credit allows; resolves when more may be written. */
  write(chunk) {
    if (this.isEnded || this.isGone) return undefined
    this.isStarted = true
    this.half.write(chunk)
    if (!this.half.isBlocked && !this.writer.socket.writableNeedDrain) return undefined
    return new Promise((resolve) => {
      if (this.half.isBlocked) this.half.onDrain = resolve
      else this.writer.socket.once('drain', resolve)
    })
  }

  end(hasOpenWork, last) {
    if (this.isEnded) return
    this.isEnded = true
    const flags = hasOpenWork ? Flag.fin | Flag.openWork : Flag.fin
    if (last !== undefined && last.length > 0 && !this.isGone) {
      this.half.finFlags = flags
      this.half.write(last)
    } else this.half.end(flags)
  }

  fail(thrown, hasOpenWork) {
    if (this.isEnded) return
    this.isEnded = true
    const flags = hasOpenWork ? Flag.fin | Flag.openWork : Flag.fin
    // What still waits for credit is worth nothing now.
    this.half.queue = []
    this.writer.send(Type.fail, flags, this.stream, failText(describe(thrown)))
  }

  idle() {
    this.writer.send(Type.idle, 0, this.stream)
  }

  /** The host wants no more bytes: writers run on, into nothing. */
  abandon() {
    this.isGone = true
    this.half.queue = []
    const drained = this.half.onDrain
    this.half.onDrain = null
    if (drained !== null) drained()
  }
}

/** HEAD's payload; throws what the user can act on when the head cannot be sent. */
function headText(status, headers) {
  if (!Number.isInteger(status) || status < 100 || status > 999)
    throw new RuntimeError('Runtime.InvalidResponse', `Invalid status ${status}: must be 100 to 999.`)
  if (headers.length > headersMax)
    throw new RuntimeError('Runtime.InvalidResponse', `${headers.length} headers: at most ${headersMax} can be sent.`)
  for (const [name, value] of headers)
    if (!headerName.test(name) || !headerValue.test(value))
      throw new RuntimeError('Runtime.InvalidResponse', `Header "${name}" has a name or value that HTTP cannot carry.`)
  const text = JSON.stringify({ status, headers })
  if (Buffer.byteLength(text) > payloadBytesMax)
    throw new RuntimeError('Runtime.InvalidResponse', 'The headers take more than 65,536 bytes.')
  return text
}

/** AWS Lambda's global for streaming handlers. */
const streamingHandler = Symbol.for('aws.lambda.runtime.handler.streaming')
const awslambda = {
  streamifyResponse(handler) {
    handler[streamingHandler] = true
    return handler
  },
  HttpResponseStream: {
    from(stream, metadata) {
      stream.metadata = metadata
      return stream
    },
  },
}

module.exports = { Response, awslambda, streamingHandler }
