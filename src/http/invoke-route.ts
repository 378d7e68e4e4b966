import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Caller, Control, InvokeReply, InvokeRequest } from '../domain/control.ts'
import { AppError, invalid, toAppError } from '../domain/error.ts'
import { limits } from '../domain/limits.ts'
import type { Logger } from '../domain/logger.ts'
import { unauthorized, type Authentication } from './auth.ts'
import { errorBody, errorHeaders, statusOfCode } from './errors.ts'
import { replyHeaders, replyStatus } from './invoke-reply.ts'

/* The path of an invocation through HTTP: node:http alone, no framework, no promise when everything is in memory. */

const prefix = '/v1/functions/'
const suffix = '/invoke'
const emptyEvent = Buffer.from('{}')
/** A JSON body up to this size is checked here (about 1 ms); a larger one is left to the runtime, so that it cannot stall everybody else's calls. */
const jsonCheckBytesMax = 256 * 1024
const priorityDefault = 3
const textBytesMax = 16 * 1024
/** What a client still sends after it was told 413 is read and dropped for this long, so that it can read the answer. */
const lingerMs = 2_000

/** `NAME` or `NAME:QUALIFIER` of an invoke path, percent-decoded; null when `url` is no invoke path. */
export function invokeTarget(url: string): { name: string; qualifier: string | null } | null {
  if (!url.startsWith(prefix)) return null
  const query = url.indexOf('?')
  const end = query < 0 ? url.length : query
  if (!url.startsWith(suffix, end - suffix.length)) return null
  const segment = url.slice(prefix.length, end - suffix.length)
  if (segment === '' || segment.includes('/')) return null
  const text = segment.includes('%') ? decode(segment) : segment
  const colon = text.indexOf(':')
  return colon < 0 ? { name: text, qualifier: null } : { name: text.slice(0, colon), qualifier: text.slice(colon + 1) }
}

export class InvokeRoute {
  readonly #control: Control
  readonly #auth: Authentication
  readonly #logger: Logger
  readonly #nowMs: () => number

  constructor(options: { control: Control; auth: Authentication; logger: Logger; nowMs: () => number }) {
    this.#control = options.control
    this.#auth = options.auth
    this.#logger = options.logger
    this.#nowMs = options.nowMs
  }

  handle(request: IncomingMessage, response: ServerResponse, target: { name: string; qualifier: string | null }): void {
    const caller = this.#auth.cached(request)
    if (caller === null) return this.#refuse(request, response, unauthorized())
    if (caller !== undefined) {
      const wait = this.#control.authorizeInvoke(caller, target.name, target.qualifier)
      if (wait === null) return this.#read(request, response, { ...target, caller })
      void this.#readAfter(wait, request, response, { ...target, caller })
      return
    }
    void this.#authenticate(request, response, target)
  }

  async #authenticate(
    request: IncomingMessage,
    response: ServerResponse,
    target: { name: string; qualifier: string | null },
  ): Promise<void> {
    try {
      const caller = await this.#auth.caller(request)
      await this.#readAfter(this.#control.authorizeInvoke(caller, target.name, target.qualifier), request, response, {
        ...target,
        caller,
      })
    } catch (error) {
      this.#refuse(request, response, error)
    }
  }

  async #readAfter(
    wait: Promise<void> | null,
    request: IncomingMessage,
    response: ServerResponse,
    of: Asked,
  ): Promise<void> {
    try {
      await wait
    } catch (error) {
      return this.#refuse(request, response, error)
    }
    this.#read(request, response, of)
  }

  #read(request: IncomingMessage, response: ServerResponse, of: Asked): void {
    const length = Number(request.headers['content-length'] ?? 0)
    if (length > limits.payloadBytesMax) return this.#tooLarge(request, response)
    const chunks: Buffer[] = []
    let bytes = 0
    request.on('data', (chunk: Buffer) => {
      bytes += chunk.length
      if (bytes > limits.payloadBytesMax) {
        request.removeAllListeners('data')
        request.removeAllListeners('end')
        this.#tooLarge(request, response)
        return
      }
      chunks.push(chunk)
    })
    request.on('end', () => {
      const [first] = chunks
      this.#invoke(request, response, {
        ...of,
        payload: first === undefined ? emptyEvent : chunks.length === 1 ? first : Buffer.concat(chunks, bytes),
        isEmpty: first === undefined,
      })
    })
  }

  #invoke(request: IncomingMessage, response: ServerResponse, of: Asked & { payload: Buffer; isEmpty: boolean }): void {
    let ask: InvokeRequest
    try {
      ask = parse(request, of, this.#nowMs())
    } catch (error) {
      return this.#refuse(request, response, error)
    }
    let isOver = false
    const cancel = this.#control.invoke(ask, (reply) => {
      isOver = true
      answer(response, reply)
    })
    if (isOver) return
    response.on('close', () => {
      if (!isOver) cancel('the client closed the connection')
    })
  }

  #tooLarge(request: IncomingMessage, response: ServerResponse): void {
    const error = new AppError('invalid', `The request is larger than ${limits.payloadBytesMax} bytes.`, {
      field: 'body',
      allowed: `at most ${limits.payloadBytesMax} bytes`,
    })
    this.#send(response, 413, errorHeaders(error), error)
    linger(request)
  }

  #refuse(request: IncomingMessage, response: ServerResponse, thrown: unknown): void {
    const error = toAppError(thrown)
    if (error.code === 'internal') this.#logger.error('http.invoke.failed', { url: request.url, detail: error.detail })
    this.#send(response, statusOfCode[error.code], errorHeaders(error), error)
    if (!request.complete) linger(request)
  }

  #send(response: ServerResponse, status: number, headers: Record<string, string>, error: AppError): void {
    if (response.headersSent) return
    const body = Buffer.from(JSON.stringify(errorBody(error)))
    response.writeHead(status, { ...headers, 'content-type': 'application/json', 'content-length': body.length })
    response.end(body)
  }
}

interface Asked {
  readonly name: string
  readonly qualifier: string | null
  readonly caller: Caller
}

function answer(response: ServerResponse, reply: InvokeReply): void {
  if (response.destroyed) return
  const body = reply.outcome === 'succeeded' ? reply.body : Buffer.from(JSON.stringify(failureBody(reply)))
  response.writeHead(replyStatus(reply), replyHeaders(reply, body.length))
  // A text leaves with its head in one write; bytes take a second buffer and a writev, a sixth of the time of a small reply.
  if (body.length <= textBytesMax) response.end(latin1(body), 'latin1')
  else response.end(body)
}

function latin1(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1')
}

function failureBody(reply: InvokeReply): unknown {
  if (reply.outcome === 'failed') return reply.error
  const { error, rejection } = reply
  const code =
    rejection !== null || reply.outcome === 'expired'
      ? 'capacity'
      : reply.outcome === 'timed_out'
        ? 'timeout'
        : 'guest_failed'
  return {
    error: {
      code,
      message: error?.errorMessage ?? reply.outcome,
      retryable: reply.effect === 'never_started',
      invocationId: reply.invocationId,
    },
    errorType: error?.errorType,
    errorMessage: error?.errorMessage,
    stackTrace: error?.stackTrace ?? [],
  }
}

/** Throws invalid, naming the header or the body. */
function parse(
  request: IncomingMessage,
  { caller, name, qualifier, payload, isEmpty }: Asked & { payload: Buffer; isEmpty: boolean },
  nowMs: number,
): InvokeRequest {
  const { headers } = request
  if (headers['idempotency-key'] !== undefined)
    throw invalid(
      'Idempotency-Key',
      headers['idempotency-key'],
      'left out',
      'Idempotency-Key is not supported yet: leave the header out.',
    )
  if (headers.prefer !== undefined && /respond-async/i.test(String(headers.prefer)))
    throw invalid(
      'Prefer',
      headers.prefer,
      'left out',
      'Prefer: respond-async is not supported yet: leave the header out.',
    )
  const contentType = isEmpty ? 'application/json' : (headers['content-type'] ?? 'application/json')
  if (!isEmpty && payload.length <= jsonCheckBytesMax && isJson(contentType)) checkJson(payload)
  const log = headers['hearth-log']
  if (log !== undefined && log !== 'tail' && log !== 'none') throw invalid('Hearth-Log', log, '"tail" or "none"')
  const traceparent = headers['traceparent']
  return {
    caller,
    functionName: name,
    qualifier,
    contentType,
    payload,
    deadline: deadlineOf(headers['hearth-deadline-ms'], headers['hearth-timeout-ms'], nowMs),
    priority: wholeNumber('Hearth-Priority', headers['hearth-priority'], { min: 0, max: 5 }) ?? priorityDefault,
    traceparent:
      typeof traceparent === 'string' && /^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/.test(traceparent)
        ? traceparent
        : null,
    wantLogTail: log === 'tail',
  }
}

function deadlineOf(
  absolute: string | string[] | undefined,
  relative: string | string[] | undefined,
  nowMs: number,
): number | null {
  const at = wholeNumber('Hearth-Deadline-Ms', absolute, { min: 0, max: Number.MAX_SAFE_INTEGER })
  const within = wholeNumber('Hearth-Timeout-Ms', relative, { min: 0, max: limits.timeoutMs.max })
  if (at === null && within === null) return null
  return Math.min(at ?? Infinity, within === null ? Infinity : nowMs + within)
}

function wholeNumber(
  header: string,
  text: string | string[] | undefined,
  { min, max }: { min: number; max: number },
): number | null {
  if (text === undefined) return null
  const value = typeof text === 'string' && /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN
  if (!(value >= min && value <= max)) throw invalid(header, text, `a whole number from ${min} to ${max}`)
  return value
}

function isJson(contentType: string): boolean {
  return contentType === 'application/json' || /^application\/json\s*;/i.test(contentType)
}

function checkJson(payload: Buffer): void {
  try {
    JSON.parse(payload.toString('utf8'))
  } catch (error) {
    throw new AppError('invalid', `The body is not JSON: ${error instanceof Error ? error.message : String(error)}.`, {
      field: 'body',
      allowed: 'JSON, or another Content-Type for raw bytes',
    })
  }
}

function decode(segment: string): string {
  try {
    return decodeURIComponent(segment)
  } catch {
    // A broken escape names no function; the name check says so in the usual words.
    return segment
  }
}

function linger(request: IncomingMessage): void {
  request.resume()
  const timer = setTimeout(() => request.socket.destroy(), lingerMs)
  timer.unref()
  request.once('close', () => clearTimeout(timer))
}
