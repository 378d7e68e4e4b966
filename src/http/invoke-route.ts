import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Caller, Control, InvokeReply, InvokeRequest, ReplySink, ReplyStart } from '../domain/control.ts'
import { AppError, toAppError } from '../domain/error.ts'
import { limits } from '../domain/limits.ts'
import type { Logger } from '../domain/logger.ts'
import { unauthorized, type Authentication } from './auth.ts'
import { errorBody, errorHeaders, HttpRefusal, leaveBody, statusOf } from './errors.ts'
import type { HeldBytes } from './held-bytes.ts'
import { failureBody, ownStatus, replyHeaders, replyStatus } from './invoke-reply.ts'
import { streamHeaders, streamTrailers, trailersOf } from './invoke-reply.ts'
import { cutIfStalled } from './stalled.ts'
import { parseInvoke } from './invoke-request.ts'
import { StreamReply } from './stream-reply.ts'

/* The path of an invocation through HTTP: node:http alone, no framework, no promise when everything is in memory. */

const prefix = '/v1/functions/'
const suffix = '/invoke'
const emptyEvent = Buffer.from('{}')
/** A reply up to this size leaves as text with its head in one write; bytes would take a second buffer and a writev, a sixth of the time of a small reply. */
const textBytesMax = 16 * 1024

export interface InvokeTarget {
  readonly name: string
  readonly qualifier: string | null
}

/** `NAME` or `NAME:QUALIFIER` of an invoke path, percent-decoded; null when `target` is no invoke path, or cannot be decoded. A server must take
 *  `http://HOST/PATH` for a path, too (RFC 9112, 3.2.2). */
export function invokeTarget(target: string): InvokeTarget | null {
  const url = target.startsWith('/') ? target : target.replace(/^https?:\/\/[^/?#]*/i, '')
  if (!url.startsWith(prefix)) return null
  const query = url.indexOf('?')
  const end = query < 0 ? url.length : query
  if (!url.startsWith(suffix, end - suffix.length)) return null
  const segment = url.slice(prefix.length, end - suffix.length)
  if (segment === '' || segment.includes('/')) return null
  const text = segment.includes('%') ? decode(segment) : segment
  if (text === null) return null
  const colon = text.indexOf(':')
  return colon < 0 ? { name: text, qualifier: null } : { name: text.slice(0, colon), qualifier: text.slice(colon + 1) }
}

export interface InvokeRouteOptions {
  readonly control: Control
  readonly auth: Authentication
  readonly logger: Logger
  readonly nowMs: () => number
  /** Bytes that clients have sent or not yet taken. */
  readonly held: HeldBytes
}

/** Serves POST /v1/functions/{name}/invoke. */
export class InvokeRoute {
  readonly control: Control
  readonly auth: Authentication
  readonly logger: Logger
  readonly nowMs: () => number
  readonly held: HeldBytes

  constructor({ control, auth, logger, nowMs, held }: InvokeRouteOptions) {
    this.control = control
    this.auth = auth
    this.logger = logger
    this.nowMs = nowMs
    this.held = held
  }

  handle(request: IncomingMessage, response: ServerResponse, target: InvokeTarget): void {
    new Exchange(this, request, response, target).start()
  }
}

/*
 *  start --caller and version in memory--> read body --> invoke --(begin --> data*)--> answer --> closed
 *     \-----ask the store------------------^      (a client that goes away cancels; a refusal answers from anywhere)
 */
class Exchange implements ReplySink {
  readonly #route: InvokeRoute
  readonly #request: IncomingMessage
  readonly #response: ServerResponse
  readonly #target: InvokeTarget
  #caller: Caller | null = null
  #chunks: Buffer[] = []
  #bytes = 0
  #cancel: ((reason: string) => void) | null = null
  #isAnswered = false
  #stream: StreamReply | null = null

  constructor(route: InvokeRoute, request: IncomingMessage, response: ServerResponse, target: InvokeTarget) {
    this.#route = route
    this.#request = request
    this.#response = response
    this.#target = target
  }

  start(): void {
    const caller = this.#route.auth.cached(this.#request)
    if (caller === undefined) return void this.#authenticate()
    if (caller === null) return this.#refuse(unauthorized())
    this.#authorize(caller)
  }

  async #authenticate(): Promise<void> {
    try {
      this.#authorize(await this.#route.auth.caller(this.#request))
    } catch (error) {
      this.#refuse(error)
    }
  }

  #authorize(caller: Caller): void {
    this.#caller = caller
    const wait = this.#route.control.authorizeInvoke(caller, this.#target.name, this.#target.qualifier)
    if (wait === null) return this.#read()
    wait.then(
      () => this.#read(),
      (error: unknown) => this.#refuse(error),
    )
  }

  #read(): void {
    const request = this.#request
    if (Number(request.headers['content-length'] ?? 0) > limits.payloadBytesMax) return this.#refuse(tooLarge())
    this.#response.on('close', () => this.#closed())
    request.on('data', (chunk: Buffer) => this.#receive(chunk))
    request.on('end', () => this.#invoke())
  }

  #receive(chunk: Buffer): void {
    if (this.#isAnswered) return
    this.#hold(chunk.length)
    this.#chunks.push(chunk)
    if (this.#bytes > limits.payloadBytesMax) this.#refuse(tooLarge())
    else if (this.#route.held.isOver) this.#refuse(noMemory())
  }

  #invoke(): void {
    if (this.#isAnswered || this.#caller === null) return
    const [first] = this.#chunks
    const payload = this.#chunks.length > 1 ? Buffer.concat(this.#chunks, this.#bytes) : (first ?? emptyEvent)
    this.#chunks = []
    let asked: InvokeRequest
    try {
      asked = parseInvoke(this.#request.headers, {
        caller: this.#caller,
        target: this.#target,
        payload,
        isEmpty: first === undefined,
        nowMs: this.#route.nowMs,
        sink: this,
      })
    } catch (error) {
      return this.#refuse(error)
    }
    const cancel = this.#route.control.invoke(asked, (reply) => this.#answer(reply))
    if (!this.#isAnswered) this.#cancel = cancel
  }

  begin(start: ReplyStart, credit: (bytes: number) => void): void {
    const response = this.#response
    this.#stream = new StreamReply(response, credit)
    if (response.destroyed) return
    const status = ownStatus(start) ?? 200
    const headers = streamHeaders(start)
    // Without chunks there is no place for trailers.
    if (this.#request.httpVersion === '1.1' && status !== 204 && status !== 304) headers.push('Trailer', streamTrailers)
    response.writeHead(status, headers)
    // With the first bytes if they come with it, else alone.
    process.nextTick(() => response.flushHeaders())
  }

  data(chunk: Uint8Array): void {
    this.#stream?.write(chunk)
  }

  /** The status of a stream has gone out: a client that reads trailers finds the failure there, any other sees the connection break off. */
  #endStream(stream: StreamReply, reply: InvokeReply): void {
    const readsTrailers = /\btrailers\b/i.test(String(this.#request.headers.te))
    if (reply.outcome === 'succeeded' || readsTrailers) stream.end(trailersOf(reply))
    else stream.cut()
  }

  #answer(reply: InvokeReply): void {
    this.#isAnswered = true
    if (this.#stream !== null) return this.#endStream(this.#stream, reply)
    const response = this.#response
    if (response.destroyed) return
    const body = reply.outcome === 'succeeded' ? reply.body : Buffer.from(JSON.stringify(failureBody(reply)))
    const status = replyStatus(reply)
    response.writeHead(status, replyHeaders(reply, { status, bytes: body.length }))
    if (body.length <= textBytesMax) {
      response.end(Buffer.from(body.buffer, body.byteOffset, body.length).toString('latin1'), 'latin1')
      return
    }
    this.#hold(body.length)
    cutIfStalled(response)
    response.end(body)
  }

  /** Answers before there is an invocation. */
  #refuse(thrown: unknown): void {
    if (this.#isAnswered) return
    this.#isAnswered = true
    this.#chunks = []
    const error = toAppError(thrown)
    const { method, url } = this.#request
    if (error.code === 'internal') this.#route.logger.error('http.invoke.failed', { method, url, detail: error.detail })
    const response = this.#response
    if (response.destroyed) return
    const body = JSON.stringify(errorBody(error))
    const headers = {
      ...errorHeaders(error),
      'Hearth-Effect': 'never_started',
      'Content-Type': 'application/json',
      'Content-Length': Buffer.byteLength(body),
    }
    const isKept = leaveBody(this.#request)
    response.writeHead(statusOf(error), isKept ? headers : { ...headers, Connection: 'close' })
    response.end(body)
  }

  /** The reply has left, or the client has. */
  #closed(): void {
    this.#route.held.add(-this.#bytes)
    this.#bytes = 0
    this.#chunks = []
    if (this.#isAnswered) return
    this.#isAnswered = true
    this.#cancel?.('the client closed the connection')
  }

  #hold(bytes: number): void {
    this.#bytes += bytes
    this.#route.held.add(bytes)
  }
}

function tooLarge(): AppError {
  return new HttpRefusal(413, `The request is larger than ${limits.payloadBytesMax} bytes.`, {
    field: 'body',
    allowed: `at most ${limits.payloadBytesMax} bytes`,
  })
}

function noMemory(): AppError {
  const message = 'The platform holds as many request and reply bytes as it can: try again in 1 s.'
  return new AppError('capacity', message, { retryAfterMs: 1_000 })
}

function decode(segment: string): string | null {
  try {
    return decodeURIComponent(segment)
  } catch {
    return null
  }
}
