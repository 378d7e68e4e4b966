import { STATUS_CODES, type IncomingMessage, type ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import type { HttpRequestHead } from '../domain/agent.ts'
import type { Caller, Control, FoundUrl, InvokeReply, InvokeRequest, ReplySink, ReplyStart } from '../domain/control.ts'
import { AppError, toAppError } from '../domain/error.ts'
import { limits } from '../domain/limits.ts'
import type { Logger } from '../domain/logger.ts'
import { isServer } from '../domain/runtime.ts'
import type { Authentication } from './auth.ts'
import type { BodySource } from './body-source.ts'
import { corsHeaders, isPreflight, preflightHeaders } from './cors.ts'
import { leaveBody } from './errors.ts'
import type { HeldBytes } from './held-bytes.ts'
import { mismatch } from './sigv4-claim.ts'
import { cutIfStalled } from './stalled.ts'
import { StreamReply } from './stream-reply.ts'
import { takeOriginForm } from './origin-form.ts'
import { proxiedBody } from './url-body.ts'
import { urlEvent } from './url-event.ts'
import { endToEnd, forwardedHeaders, isBodiless, lengthIn, type HeaderList } from './url-headers.ts'
import { urlTarget, type UrlPlace, type UrlTarget } from './url-place.ts'
import { failureOf, refusalFor, refusalOf, refusals, type Refusal } from './url-refusals.ts'
import { urlResponse } from './url-response.ts'
import { hashOf, signerOf, type Signer } from './url-signature.ts'
import { freshTrace, traceOf } from './url-trace.ts'
import { wholeBody } from './whole-body.ts'

export interface UrlExchangeHost {
  readonly control: Control
  readonly auth: Authentication
  readonly logger: Logger
  readonly place: UrlPlace
  readonly requestBytesMax: number
  readonly held: HeldBytes
  /** That signatures must be made for. */
  readonly region: string
  readonly nowMs: () => number
}

export interface UrlConnection {
  readonly request: IncomingMessage
  readonly response: ServerResponse
  /** Of a client that wants to go on with another protocol: the socket is the function's once it agrees. */
  readonly upgrade: Duplex | null
}

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
  /** Of a request that had to be signed. */
  #signer: Signer | null = null
  /** Where it was read whole. */
  #body: Buffer | null = null
  /** What this exchange has of `host.held`. */
  #heldBytes = 0
  #cancel: ((reason: string) => void) | null = null
  #isAnswered = false
  #stream: StreamReply | null = null
  /** What comes from the client on the way to a function that is a server. */
  #source: BodySource | null = null
  #credit: (bytes: number) => void = () => {}
  /** A reply without head is an event's result: it can be told only once it is whole. */
  #kept: Uint8Array[] = []
  #keptBytes = 0
  /** What the function's Content-Length still promises. */
  #leftBytes: number | null = null
  #isSwitched = false
  #invocationId: string | null = null

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
      this.#refuse(
        refusalFor(thrown, ({ code, message, detail }) =>
          this.#host.logger.error('http.url.failed', { url: this.#request.url, code, message, detail }),
        ),
      )
    }
  }

  async #route(): Promise<void> {
    const { control, place } = this.#host
    const request = this.#request
    if (!takeOriginForm(request)) return this.#refuse(refusals.malformed)
    const target = urlTarget(request.headers.host ?? '', request.url ?? '', place.domain)
    const found = target === null ? null : await control.urls.find(target).catch(nullIfAbsent)
    this.#found = found
    if (found !== null && found.url.cors !== null && isPreflight(request))
      return this.#write({ status: 200, headers: preflightHeaders(found.url.cors, request), body: nothing }, [])
    const caller = await this.#caller(found)
    if (caller === null || this.#isAnswered) return
    if (found === null || target === null) return this.#refuse(refusals.forbidden)
    if (caller.project !== found.url.project) throw new AppError('forbidden', 'This key is of another project.')
    await control.authorizeInvoke(caller, found.url.functionName, found.url.qualifier)
    if (isServer(found.contract)) this.#proxy(caller, target)
    else await this.#readEvent(caller, target)
  }

  /** Null: the client went away. A place where no function is takes signed requests, so that it cannot be told from one that does.
   *  Throws unauthorized, forbidden, SignatureError, and as `#readBody`. */
  async #caller(found: FoundUrl | null): Promise<Caller | null> {
    const { control, auth, region, nowMs } = this.#host
    if (found !== null && found.url.auth === 'none') {
      const { project, functionName } = found.url
      return { actor: `url:${functionName}`, project, scopes: [`invoke:${functionName}`] }
    }
    if (found !== null && found.url.auth === 'key') return auth.caller(this.#request)
    const readBody = async (): Promise<Buffer | null> => (this.#upgrade === null ? this.#readBody() : nothing)
    this.#signer = await signerOf(this.#request, { control, region, nowMs: nowMs(), readBody })
    return this.#signer?.caller ?? null
  }

  /** The request as it is: for a function that is an HTTP server itself, or is told of requests in Azure's words. */
  #proxy(caller: Caller, target: UrlTarget): void {
    const request = this.#request
    const { method = 'GET', headers } = request
    if (Number(headers['content-length'] ?? 0) > this.#host.requestBytesMax) return this.#refuse(refusals.tooLarge)
    if (this.#found === null) return
    const list = forwardedHeaders(request, this.#found.url, target)
    if (this.#upgrade !== null) list.push(['connection', 'Upgrade'], ['upgrade', headers.upgrade ?? ''])
    const source = proxiedBody(request, {
      upgrade: this.#upgrade,
      body: this.#body,
      hash: this.#signer?.bodyHash ?? null,
      bytesMax: this.#host.requestBytesMax,
      onTooLong: () => this.#refuse(refusals.tooLarge, 'request too large'),
      onWrongHash: () => this.#refuse(refusalOf(mismatch()), 'the body is not the one that was signed'),
    })
    this.#source = source
    if (source === null) request.resume()
    this.#invoke(caller, {
      payload: nothing,
      contentType: headers['content-type'] ?? '',
      http: { method, target: target.target, headers: list },
      sink: this,
      ...(source !== null && { source }),
    })
  }

  /** The whole request as an event: for a function that takes events. */
  async #readEvent(caller: Caller, target: UrlTarget): Promise<void> {
    const body = await this.#readBody()
    if (body === null || this.#isAnswered || this.#found === null) return
    const signer = this.#signer
    const hash = signer?.bodyHash ?? null
    if (hash !== null && hash !== hashOf(body)) throw mismatch()
    const { url } = this.#found
    const nowMs = this.#host.nowMs()
    const traceparent = traceOf(this.#request.headers) ?? freshTrace(nowMs)
    const id = this.#host.control.newInvocationId()
    const event = urlEvent({ request: this.#request, url, target, body, signer, requestId: id, traceparent, nowMs })
    const payload = Buffer.from(JSON.stringify(event))
    if (payload.length > limits.payloadBytesMax) return this.#refuse(refusals.tooLarge)
    this.#hold(payload.length - body.length)
    this.#body = null
    const sink = url.mode === 'stream' ? { sink: this } : {}
    this.#invoke(caller, { id, traceparent, payload, contentType: 'application/json', ...sink })
  }

  /** Throws HttpRefusal 413, capacity. */
  async #readBody(): Promise<Buffer | null> {
    this.#body ??= await wholeBody(this.#request, (bytes) => {
      this.#hold(bytes)
      if (this.#host.held.isOver) throw new AppError('capacity', 'As many bytes are under way as there may be.')
    })
    return this.#body
  }

  /** Until the answer has left. */
  #hold(bytes: number): void {
    this.#heldBytes += bytes
    this.#host.held.add(bytes)
  }

  #invoke(
    caller: Caller,
    what: Pick<InvokeRequest, 'payload' | 'contentType'> & Partial<InvokeRequest> & { http?: HttpRequestHead },
  ): void {
    if (this.#found === null || this.#isAnswered) return
    const { functionName, qualifier } = this.#found.url
    const traceparent = traceOf(this.#request.headers)
    const common = { caller, functionName, qualifier, traceparent, deadline: null, priority, wantLogTail: false }
    const cancel = this.#host.control.invoke({ ...common, ...what }, (reply) => this.#answer(reply))
    if (!this.#isOver()) this.#cancel = cancel
  }

  begin(start: ReplyStart, credit: (bytes: number) => void): void {
    this.#credit = credit
    if (this.#isAnswered || start.head === null) return
    const { status, headers } = start.head
    if (status === 101 && this.#upgrade !== null) return this.#switch(this.#upgrade, headers)
    const list = this.#ownHeaders(headers)
    const length = status === 204 ? null : lengthIn(list)
    this.#leftBytes = this.#request.method === 'HEAD' || isBodiless(status) ? null : length
    const valid = list.filter(([name]) => name.toLowerCase() !== 'content-length' || length !== null)
    valid.push(...this.#platformHeaders(start.invocationId))
    this.#stream = new StreamReply(this.#response, credit)
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
    this.#hold(chunk.length)
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
      if (reply.outcome !== 'succeeded' || (this.#leftBytes ?? 0) !== 0) return this.#stream.cut()
      this.#stream.end()
      return this.#source?.drop()
    }
    this.#invocationId = reply.invocationId
    if (reply.outcome !== 'succeeded') return this.#write(failureOf(reply, this.#found?.contract ?? 'handler'))
    const body = this.#kept.length > 0 ? Buffer.concat(this.#kept, this.#keptBytes) : reply.body
    const { head } = reply
    const own = head === null ? urlResponse(body) : { status: head.status, headers: [...head.headers], body }
    if (typeof own === 'string') return this.#refuseResult(reply.invocationId, own)
    if (own.status < 200 || own.status > 599)
      return this.#refuseResult(reply.invocationId, `its status is ${own.status}`)
    const headers = this.#ownHeaders(own.headers).filter(([name]) => name.toLowerCase() !== 'content-length')
    this.#write({ ...own, headers })
  }

  /** AWS's answer to what is no response; the function's log says why. */
  #refuseResult(invocationId: string, why: string): void {
    const text = `The result is no response of payload format 2.0, and its client got a 502: ${why}.`
    if (this.#found !== null) this.#host.control.urls.note(this.#found.url, invocationId, text)
    this.#write(refusals.badGateway)
  }

  /** What the function says, without what belongs to one connection or is the platform's to say. */
  #ownHeaders(own: readonly (readonly [string, string])[]): HeaderList {
    const hasCors = (this.#found?.url.cors ?? null) !== null
    return endToEnd(own).filter(([name]) => !(hasCors && name.toLowerCase().startsWith('access-control-')))
  }

  /** CORS as the URL's configuration has it, on every answer: the page of an allowed origin reads failures too. */
  #platformHeaders(invocationId: string | null): HeaderList {
    const cors = this.#found?.url.cors ?? null
    const list: HeaderList = cors === null ? [] : corsHeaders(cors, this.#request.headers.origin)
    if (invocationId !== null) list.push(['x-amzn-RequestId', invocationId])
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

  #write(answer: Refusal, platformHeaders: HeaderList = this.#platformHeaders(this.#invocationId)): void {
    this.#isAnswered = true
    const response = this.#response
    if (response.destroyed) return
    const more = [...platformHeaders]
    if (!leaveBody(this.#request) || this.#upgrade !== null) more.push(['connection', 'close'])
    const writeHead = ({ status, headers, body }: Refusal): void => {
      const length: HeaderList = isBodiless(status) ? [] : [['content-length', String(body.length)]]
      response.writeHead(status, STATUS_CODES[status] ?? '', [...headers, ...more, ...length].flat())
    }
    try {
      writeHead(answer)
    } catch {
      // A header that HTTP cannot carry.
      writeHead(refusals.badGateway)
      return void response.end(refusals.badGateway.body)
    }
    this.#hold(answer.body.length)
    cutIfStalled(response)
    response.end(isBodiless(answer.status) ? undefined : answer.body)
  }

  #isOver(): boolean {
    return this.#isAnswered
  }

  #closed(): void {
    this.#hold(-this.#heldBytes)
    if (this.#isSwitched && this.#upgrade?.destroyed !== true) return
    if (this.#isAnswered) return
    this.#isAnswered = true
    this.#cancel?.('the client closed the connection')
  }
}

/** Versions and functions that are gone. */
function nullIfAbsent(error: unknown): null {
  if (toAppError(error).code === 'not_found') return null
  throw error
}
