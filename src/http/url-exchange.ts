import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import type { HttpRequestHead } from '../domain/agent.ts'
import type { Caller, Control, FoundUrl, InvokeReply, InvokeRequest, ReplySink, ReplyStart } from '../domain/control.ts'
import { AppError, toAppError } from '../domain/error.ts'
import { limits } from '../domain/limits.ts'
import type { Logger } from '../domain/logger.ts'
import type { Authentication } from './auth.ts'
import { BodySource } from './body-source.ts'
import { corsHeaders, isPreflight, preflightHeaders } from './cors.ts'
import { leaveBody } from './errors.ts'
import { cutIfStalled } from './stalled.ts'
import { StreamReply } from './stream-reply.ts'
import { urlEvent } from './url-event.ts'
import { endToEnd, forwardedHeaders, pairsOf, type HeaderList } from './url-headers.ts'
import { urlTarget, type UrlPlace, type UrlTarget } from './url-place.ts'
import { failureOf, refusals, type Refusal } from './url-refusals.ts'
import { urlResponse } from './url-response.ts'

export interface UrlExchangeHost {
  readonly control: Control
  readonly auth: Authentication
  readonly logger: Logger
  readonly place: UrlPlace
  readonly requestBytesMax: number
  readonly nowMs: () => number
}

export interface UrlConnection {
  readonly request: IncomingMessage
  readonly response: ServerResponse
  /** Of a client that wants to go on with another protocol: the socket is the function's once it agrees. */
  readonly upgrade: Duplex | null
}

/** A client that sends nothing of an event for this long is cut. */
const stallMs = 30_000
const traceparentPattern = /^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/
const priority = 3
const nothing = Buffer.alloc(0)

/*
 *  start --whose URL, who may--> [read body] --> invoke --(begin --> data*)--> answer
 *     \--- a refusal answers from anywhere; a client that goes away cancels ---/
 */
export class UrlExchange implements ReplySink {
  readonly #host: UrlExchangeHost
  readonly #request: IncomingMessage
  readonly #response: ServerResponse
  readonly #upgrade: Duplex | null
  #found: FoundUrl | null = null
  #cancel: ((reason: string) => void) | null = null
  #isAnswered = false
  #stream: StreamReply | null = null
  #credit: (bytes: number) => void = () => {}
  /** A reply without head is an event's result: it can be told only once it is whole. */
  #kept: Uint8Array[] = []
  #keptBytes = 0
  /** What the function's Content-Length still promises. */
  #leftBytes: number | null = null
  #isSwitched = false

  constructor(host: UrlExchangeHost, { request, response, upgrade }: UrlConnection) {
    this.#host = host
    this.#request = request
    this.#response = response
    this.#upgrade = upgrade
  }

  async start(): Promise<void> {
    this.#response.on('close', () => this.#closed())
    try {
      await this.#route()
    } catch (thrown) {
      const { code, message, detail } = toAppError(thrown)
      if (code === 'not_found') return this.#refuse(refusals.unknown)
      if (code === 'forbidden') return this.#refuse(refusals.forbidden)
      if (code === 'unauthorized') return this.#refuse(refusals.unauthorized)
      this.#host.logger.error('http.url.failed', { url: this.#request.url, code, message, detail })
      this.#refuse(refusals.internal)
    }
  }

  async #route(): Promise<void> {
    const { control, place } = this.#host
    const request = this.#request
    const hosts = pairsOf(request.rawHeaders).filter(([name]) => name.toLowerCase() === 'host')
    const text = request.url ?? ''
    if (hosts.length !== 1 || !text.startsWith('/')) return this.#refuse(refusals.malformed)
    const target = urlTarget(hosts[0]?.[1] ?? '', text, place.domain)
    const found = target === null ? null : await control.urls.find(target.label)
    if (target === null || found === null) return this.#refuse(refusals.unknown)
    this.#found = found
    const { url, contract } = found
    if (url.cors !== null && isPreflight(request))
      return this.#write({ status: 200, headers: preflightHeaders(url.cors, request), body: nothing })
    const caller = await this.#caller(found)
    await control.authorizeInvoke(caller, url.functionName, url.qualifier)
    if (contract === 'http') this.#proxy(caller, target)
    else this.#readEvent(caller, target)
  }

  /** Throws unauthorized, forbidden. */
  async #caller({ url }: FoundUrl): Promise<Caller> {
    const { project, functionName } = url
    if (url.auth === 'none') return { actor: `url:${functionName}`, project, scopes: [`invoke:${functionName}`] }
    const caller = await this.#host.auth.caller(this.#request)
    if (caller.project !== project) throw new AppError('forbidden', 'This key is of another project.')
    return caller
  }

  /** The request as it is: for a function that is an HTTP server itself. */
  #proxy(caller: Caller, target: UrlTarget): void {
    const request = this.#request
    const { requestBytesMax: bytesMax } = this.#host
    const { method = 'GET', headers } = request
    if (Number(headers['content-length'] ?? 0) > bytesMax) return this.#refuse(refusals.tooLarge)
    if (this.#found === null) return
    const list = forwardedHeaders(request, this.#found.url, target)
    const upgrade = this.#upgrade
    if (upgrade !== null) list.push(['connection', 'Upgrade'], ['upgrade', headers.upgrade ?? ''])
    const hasBody = headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0
    const onTooLong = (): void => this.#refuse(refusals.tooLarge, 'request too large')
    const readable = upgrade ?? (hasBody ? request : null)
    if (readable === null) request.resume()
    this.#invoke(caller, {
      payload: nothing,
      contentType: headers['content-type'] ?? '',
      http: { method, target: target.target, headers: list },
      sink: this,
      ...(readable !== null && {
        source: new BodySource(readable, { bytesMax: upgrade === null ? bytesMax : Infinity, onTooLong }),
      }),
    })
  }

  /** The whole request as an event: for a function that takes events. */
  #readEvent(caller: Caller, target: UrlTarget): void {
    const request = this.#request
    if (Number(request.headers['content-length'] ?? 0) > limits.payloadBytesMax) return this.#refuse(refusals.tooLarge)
    const chunks: Buffer[] = []
    let bytes = 0
    // Nobody may hold what was read of it by sending no more.
    const stalled = setTimeout(() => request.destroy(), stallMs)
    request.on('close', () => clearTimeout(stalled))
    request.on('data', (chunk: Buffer) => {
      stalled.refresh()
      bytes += chunk.length
      if (this.#isAnswered) return
      if (bytes > limits.payloadBytesMax) return this.#refuse(refusals.tooLarge)
      chunks.push(chunk)
    })
    request.on('end', () => {
      clearTimeout(stalled)
      if (this.#isAnswered || this.#found === null) return
      const { url } = this.#found
      const event = urlEvent({ request, url, target, body: Buffer.concat(chunks), nowMs: this.#host.nowMs() })
      const payload = Buffer.from(JSON.stringify(event))
      if (payload.length > limits.payloadBytesMax) return this.#refuse(refusals.tooLarge)
      const sink = url.mode === 'stream' ? { sink: this } : {}
      this.#invoke(caller, { payload, contentType: 'application/json', ...sink })
    })
  }

  #invoke(
    caller: Caller,
    what: Pick<InvokeRequest, 'payload' | 'contentType'> & Partial<InvokeRequest> & { http?: HttpRequestHead },
  ): void {
    if (this.#found === null || this.#isAnswered) return
    const { functionName, qualifier } = this.#found.url
    const { traceparent } = this.#request.headers
    const trace = typeof traceparent === 'string' && traceparentPattern.test(traceparent) ? traceparent : null
    const common = { caller, functionName, qualifier, deadline: null, priority, wantLogTail: false }
    const cancel = this.#host.control.invoke({ ...common, traceparent: trace, ...what }, (reply) => this.#answer(reply))
    if (!this.#isOver()) this.#cancel = cancel
  }

  begin(start: ReplyStart, credit: (bytes: number) => void): void {
    this.#credit = credit
    if (this.#isAnswered || start.head === null) return
    const { status, headers } = start.head
    if (status === 101 && this.#upgrade !== null) return this.#switch(this.#upgrade, headers)
    const list = this.#replyHeaders(headers, start.invocationId)
    this.#leftBytes = this.#request.method === 'HEAD' ? null : lengthIn(list)
    this.#stream = new StreamReply(this.#response, credit)
    const valid = list.filter(([name]) => name.toLowerCase() !== 'content-length' || lengthIn(list) !== null)
    this.#response.writeHead(status >= 200 && status <= 599 ? status : 502, valid.flat())
    process.nextTick(() => this.#response.flushHeaders())
  }

  /** From here on the connection is the function's: bytes both ways. */
  #switch(socket: Duplex, headers: readonly (readonly [string, string])[]): void {
    this.#isSwitched = true
    const upgrade = headers.find(([name]) => name.toLowerCase() === 'upgrade')?.[1] ?? 'websocket'
    const list: HeaderList = [['Connection', 'Upgrade'], ['Upgrade', upgrade], ...endToEnd(headers)]
    this.#response.detachSocket(socket as never)
    socket.on('close', () => this.#closed())
    socket.write(`HTTP/1.1 101 Switching Protocols\r\n${list.map(([n, v]) => `${n}: ${v}\r\n`).join('')}\r\n`, 'latin1')
  }

  data(chunk: Uint8Array): void {
    if (this.#isAnswered) return
    const socket = this.#upgrade
    if (this.#isSwitched && socket !== null) return void socket.write(chunk, () => this.#credit(chunk.length))
    if (this.#stream !== null) return this.#pass(this.#stream, chunk)
    this.#keptBytes += chunk.length
    if (this.#keptBytes > limits.payloadBytesMax) return this.#refuse(refusals.badGateway, 'response too large')
    this.#kept.push(chunk)
    this.#credit(chunk.length)
  }

  /** What goes beyond the promised length would be read as the next response. */
  #pass(stream: StreamReply, chunk: Uint8Array): void {
    if (this.#leftBytes !== null) {
      this.#leftBytes -= chunk.length
      if (this.#leftBytes < 0) return this.#cut('the reply is longer than its Content-Length')
    }
    stream.write(chunk)
  }

  #cut(reason: string): void {
    this.#isAnswered = true
    this.#stream?.cut()
    this.#cancel?.(reason)
  }

  #answer(reply: InvokeReply): void {
    if (this.#isAnswered) return
    this.#isAnswered = true
    if (this.#isSwitched) return void this.#upgrade?.end()
    if (this.#stream !== null) {
      if (reply.outcome === 'succeeded' && (this.#leftBytes ?? 0) === 0) this.#stream.end()
      else this.#stream.cut()
      return
    }
    const id: [string, string] = ['x-amzn-RequestId', reply.invocationId]
    if (reply.outcome !== 'succeeded') return this.#write(failureOf(reply, this.#found?.contract ?? 'handler'), [id])
    const body = this.#kept.length > 0 ? Buffer.concat(this.#kept, this.#keptBytes) : reply.body
    const { head } = reply
    const own = head === null ? urlResponse(body) : { status: head.status, headers: [...head.headers], body }
    if (own === null || own.status < 200 || own.status > 599) return this.#write(refusals.badGateway, [id])
    this.#write({ ...own, headers: this.#replyHeaders(own.headers, reply.invocationId, true) })
  }

  /** What the function says, without what belongs to one connection, and CORS as the URL's configuration has it. */
  #replyHeaders(own: readonly (readonly [string, string])[], invocationId: string, isWhole = false): HeaderList {
    const cors = this.#found?.url.cors ?? null
    const list = endToEnd(own).filter(([name]) => {
      const lower = name.toLowerCase()
      return !(isWhole && lower === 'content-length') && !(cors !== null && lower.startsWith('access-control-'))
    })
    if (cors !== null) list.push(...corsHeaders(cors, this.#request.headers.origin))
    list.push(['x-amzn-RequestId', invocationId])
    return list
  }

  /** Answers in place of the function. */
  #refuse(refusal: Refusal, cancelReason: string | null = null): void {
    if (this.#isAnswered) return
    this.#isAnswered = true
    if (this.#stream === null) this.#write(refusal)
    else this.#stream.cut()
    if (cancelReason !== null) this.#cancel?.(cancelReason)
  }

  #write({ status, headers, body }: Refusal, more: HeaderList = []): void {
    this.#isAnswered = true
    const response = this.#response
    if (response.destroyed) return
    const hasBody = status !== 204 && status !== 304
    const list: HeaderList = [...headers, ...more]
    if (hasBody) list.push(['content-length', String(body.length)])
    if (!leaveBody(this.#request) || this.#upgrade !== null) list.push(['connection', 'close'])
    try {
      response.writeHead(status, list.flat())
    } catch {
      // A header that HTTP cannot carry.
      const { badGateway } = refusals
      response.writeHead(
        badGateway.status,
        [...badGateway.headers, ['content-length', String(badGateway.body.length)]].flat(),
      )
      return void response.end(badGateway.body)
    }
    cutIfStalled(response)
    response.end(hasBody ? body : undefined)
  }

  #isOver(): boolean {
    return this.#isAnswered
  }

  #closed(): void {
    if (this.#isSwitched && this.#upgrade?.destroyed !== true) return
    if (this.#isAnswered) return
    this.#isAnswered = true
    this.#cancel?.('the client closed the connection')
  }
}

/** The one valid Content-Length in `headers`; null without, or where there is no telling. */
function lengthIn(headers: HeaderList): number | null {
  const values = headers.filter(([name]) => name.toLowerCase() === 'content-length').map(([, value]) => value)
  const [value = ''] = values
  return values.length === 1 && /^\d{1,15}$/.test(value) ? Number(value) : null
}
