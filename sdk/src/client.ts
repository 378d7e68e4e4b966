import { createHash } from 'node:crypto'
import { routes, type Route } from './contract.ts'
import { demandEvent } from './event-limit.ts'
import { followLogs, type FollowOptions } from './follow-logs.ts'
import { failure, HearthError } from './hearth-error.ts'
import { keyProblem, trimPasted } from './pasted.ts'
import { requestPath } from './request-path.ts'
import { readEvents } from './sse.ts'
import { unreached } from './unreached.ts'
import type { Arguments, BuildEvent, LogLine, ReplyOf, RouteId, Routes } from './types.ts'

export interface ClientOptions {
  readonly url: string
  readonly apiKey: string
  /** Default: the global fetch. */
  readonly fetch?: typeof globalThis.fetch
}

export interface InvokeOptions {
  readonly contentType?: string
  readonly timeoutMs?: number
  readonly priority?: number
  readonly wantLogTail?: boolean
  readonly headers?: Readonly<Record<string, string>>
  readonly signal?: AbortSignal
}

export interface InvokeResult {
  readonly status: number
  readonly outcome: string
  readonly effect: string
  readonly invocationId: string
  readonly version: number | null
  /** `warm`, or `cold;source=...;cause=...`. */
  readonly start: string | null
  /** Error type of user code; null when it succeeded. */
  readonly functionError: string | null
  readonly logTail: string | null
  readonly headers: Headers
  readonly body: Buffer
}

/** An object on its way; `body` null = empty. */
export interface ObjectContent {
  readonly body: ReadableStream<Uint8Array> | null
  readonly bytes: number
  /** With quotes, as HTTP has it. */
  readonly etag: string
}

/** A reply that is read as it comes. Reading `body` to its end means that it is whole: a stream that was cut rejects. */
export interface InvokeStream {
  readonly status: number
  /** Null for a reply that came as a stream: it succeeded if `body` comes to its end, else `getInvocation` has the outcome. */
  readonly outcome: string | null
  readonly functionError: string | null
  readonly invocationId: string
  readonly version: number | null
  readonly start: string | null
  readonly headers: Headers
  readonly body: AsyncIterable<Uint8Array>
}

/** One method per row of the contract table: `client.getFunction({ name })`, `client.createFunction({ body })`. */
type RouteMethods = {
  [Id in Exclude<RouteId, 'invoke'>]: (args: Arguments<Routes[Id]>) => Promise<ReplyOf<Routes[Id]>>
}

/** A typed client of the Hearth API. Methods throw HearthError; `invoke` returns every outcome as a result. */
export type HearthClient = RouteMethods & {
  readonly url: string
  invoke(name: string, payload: Uint8Array | string, options?: InvokeOptions): Promise<InvokeResult>
  /** The same with the result as it comes; not with `wantLogTail`. */
  invokeStream(name: string, payload: Uint8Array | string, options?: InvokeOptions): Promise<InvokeStream>
  /** Uploads `bytes` unless they are there; returns their digest. */
  uploadArtifact(bytes: Uint8Array): Promise<string>
  /** Uploads the tar of an image, unless it is there: only then `open` is called, for the bytes that have `digest`. */
  uploadImage(digest: string, open: () => AsyncIterable<Uint8Array>): Promise<void>
  /** The same as `getObject`, as a stream. */
  openObject(args: Arguments<Routes['getObject']>): Promise<ObjectContent>
  /** The same as `buildBundle`, event by event as they come. */
  followBuild(args: Arguments<Routes['buildBundle']>): AsyncIterable<BuildEvent>
  /** Log lines as they come, until `signal` aborts. The first connection must succeed; one that is lost is made again, with growing waits,
   *  and goes on after the last line. Throws not_found once the function is deleted, unauthorized once the key is revoked. */
  followLogs(name: string, options: FollowOptions): AsyncIterable<LogLine>
}

export function createClient(options: ClientOptions): HearthClient {
  const transport = new Transport(options)
  const methods = Object.fromEntries(
    Object.entries(routes).map(([id, route]) => [
      id,
      async (args: Record<string, unknown> = {}) => transport.call(route, args),
    ]),
  )
  const own = {
    url: transport.url,
    invoke: async (name: string, payload: Uint8Array | string, settings: InvokeOptions = {}) =>
      transport.invoke(name, payload, settings),
    invokeStream: async (name: string, payload: Uint8Array | string, settings: InvokeOptions = {}) =>
      transport.invokeStream(name, payload, settings),
    uploadArtifact: async (bytes: Uint8Array) => transport.upload(bytes),
    uploadImage: async (digest: string, open: () => AsyncIterable<Uint8Array>) => transport.uploadImage(digest, open),
    openObject: async (args: Arguments<Routes['getObject']>): Promise<ObjectContent> => {
      const { body, headers } = await transport.request(routes.getObject, args)
      return { body, bytes: Number(headers.get('content-length')), etag: headers.get('etag') ?? '' }
    },
    followBuild: (args: Arguments<Routes['buildBundle']>) => transport.followBuild(args),
    followLogs: (name: string, settings: FollowOptions) => followLogs(transport, name, settings),
  }
  // The table gives the methods their names and `RouteMethods` their types; no row can be missing from one of them.
  return { ...methods, ...own } as unknown as HearthClient
}

class Transport {
  readonly url: string
  readonly #apiKey: string
  readonly #fetch: typeof globalThis.fetch
  /** Why nothing can be sent, found once; a client can be made all the same. */
  readonly #refusal: HearthError | null

  constructor({ url, apiKey, fetch = globalThis.fetch }: ClientOptions) {
    this.url = trimPasted(url).replace(/\/+$/, '')
    this.#apiKey = trimPasted(apiKey)
    this.#fetch = fetch
    this.#refusal = refusedKey(this.#apiKey) ?? refusedAddress(this.url)
  }

  async call(route: Route, args: Record<string, unknown>): Promise<unknown> {
    const reply = await this.request(route, args)
    if (route.reply === 'none') return undefined
    if (route.reply === 'text') return reply.text()
    return route.reply === 'bytes' ? new Uint8Array(await reply.arrayBuffer()) : reply.json()
  }

  async request(route: Route, { body, ...rest }: Record<string, unknown>): Promise<Response> {
    const { path, used } = requestPath(route.path, rest)
    const query = new URLSearchParams(
      Object.entries(rest).flatMap(([name, value]) =>
        used.has(name) || value === undefined ? [] : [[name, textOf(value)]],
      ),
    ).toString()
    const reply = await this.send(query === '' ? path : `${path}?${query}`, { method: route.method, ...bodyOf(body) })
    if (!reply.ok) throw await failure(reply)
    return reply
  }

  async send(
    path: string,
    { headers, ...init }: Omit<RequestInit, 'headers'> & { headers?: Readonly<Record<string, string>> },
  ): Promise<Response> {
    if (this.#refusal !== null) throw this.#refusal
    try {
      return await this.#fetch(`${this.url}${path}`, {
        ...init,
        headers: { authorization: `Bearer ${this.#apiKey}`, ...headers },
      })
    } catch (cause) {
      if (init.signal?.aborted === true) throw cause
      throw unreached(cause, { url: this.url, body: init.body })
    }
  }

  async #post(name: string, payload: Uint8Array | string, options: InvokeOptions): Promise<Response> {
    const headers = {
      'content-type': options.contentType ?? 'application/json',
      ...(options.timeoutMs !== undefined && { 'hearth-timeout-ms': String(options.timeoutMs) }),
      ...(options.priority !== undefined && { 'hearth-priority': String(options.priority) }),
      ...(options.wantLogTail === true && { 'hearth-log': 'tail' }),
      ...options.headers,
    }
    const body = typeof payload === 'string' ? payload : new Uint8Array(payload)
    demandEvent(body)
    return this.send(requestPath(routes.invoke.path, { name }).path, {
      method: 'POST',
      headers,
      body,
      ...(options.signal && { signal: options.signal }),
    })
  }

  async invokeStream(name: string, payload: Uint8Array | string, options: InvokeOptions): Promise<InvokeStream> {
    const headers = { ...options.headers, 'hearth-stream': 'true' }
    const reply = await this.#post(name, payload, { ...options, headers })
    const invocationId = reply.headers.get('hearth-invocation-id')
    if (invocationId === null) throw await failure(reply)
    const version = reply.headers.get('hearth-version')
    return {
      status: reply.status,
      outcome: reply.headers.get('hearth-outcome'),
      functionError: reply.headers.get('hearth-function-error'),
      invocationId,
      version: version === null ? null : Number(version),
      start: reply.headers.get('hearth-start'),
      headers: reply.headers,
      body: reply.body ?? new Blob([]).stream(),
    }
  }

  async invoke(name: string, payload: Uint8Array | string, options: InvokeOptions): Promise<InvokeResult> {
    const reply = await this.#post(name, payload, options)
    const outcome = reply.headers.get('hearth-outcome')
    if (outcome === null) throw await failure(reply)
    const version = reply.headers.get('hearth-version')
    const log = reply.headers.get('hearth-log-result')
    return {
      status: reply.status,
      outcome,
      effect: reply.headers.get('hearth-effect') ?? 'never_started',
      invocationId: reply.headers.get('hearth-invocation-id') ?? '',
      version: version === null ? null : Number(version),
      start: reply.headers.get('hearth-start'),
      functionError: reply.headers.get('hearth-function-error'),
      logTail: log === null ? null : Buffer.from(log, 'base64').toString(),
      headers: reply.headers,
      body: Buffer.from(await reply.arrayBuffer()),
    }
  }

  async upload(bytes: Uint8Array): Promise<string> {
    const sha256 = createHash('sha256').update(bytes).digest('hex')
    const known = await this.send(`/v1/artifacts/${sha256}`, { method: 'HEAD' })
    if (known.status === 404) await this.call(routes.putArtifact, { sha256, body: bytes })
    else if (!known.ok)
      throw await failure(await this.send(`/v1/artifacts/${sha256}`, { method: 'PUT', ...bodyOf(bytes) }))
    return `sha256:${sha256}`
  }

  async uploadImage(digest: string, open: () => AsyncIterable<Uint8Array>): Promise<void> {
    const { path } = requestPath(routes.putArtifact.path, { sha256: digest.replace('sha256:', '') })
    const known = await this.send(path, { method: 'HEAD' })
    if (known.ok) return
    // Half duplex: the answer comes after the body. What the platform refuses unread it answers at once.
    const body = ReadableStream.from(open())
    const headers = { 'content-type': 'application/x-tar' }
    const reply = await this.send(`${path}?kind=image`, { method: 'PUT', headers, body, duplex: 'half' })
    if (!reply.ok) throw await failure(reply)
    await reply.arrayBuffer()
  }

  async *followBuild(args: Arguments<Routes['buildBundle']>): AsyncIterable<BuildEvent> {
    const reply = await this.request(routes.buildBundle, args)
    for await (const event of readEvents(reply)) yield JSON.parse(event.data) as BuildEvent
  }
}

/** Fetch would refuse it in words that hold the key. */
function refusedKey(apiKey: string): HearthError | null {
  const problem = keyProblem(apiKey)
  if (problem === null) return null
  const message = `The API key cannot be one: ${problem}. Copy it again.`
  return new HearthError(401, { code: 'unauthorized', message, retryable: false })
}

/** What follows the address must be read as the path that `requestPath` built: after "?", "#" or a backslash it would be another call. */
function refusedAddress(url: string): HearthError | null {
  const own = URL.parse(url)
  if (own !== null && URL.parse(`${url}/v1`)?.pathname === `${own.pathname.replace(/\/+$/, '')}/v1`) return null
  const allowed = 'like http://127.0.0.1:8080, without "?" and "#"'
  const message = `Invalid url ${JSON.stringify(url)}: must be ${allowed}.`
  return new HearthError(400, { code: 'invalid', message, field: 'url', value: url, allowed, retryable: false })
}

function bodyOf(body: unknown): {
  body?: string | Blob | Uint8Array<ArrayBuffer>
  headers?: Record<string, string>
} {
  if (body === undefined) return {}
  if (body instanceof Blob) return { body, headers: { 'content-type': 'application/octet-stream' } }
  if (body instanceof Uint8Array) return { body: new Uint8Array(body), headers: { 'content-type': 'application/zip' } }
  return { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }
}

/** A path or query parameter: the table has none but texts, numbers and booleans. */
function textOf(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value)
}
