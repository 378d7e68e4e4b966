import { fastify, type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify'
import http from 'node:http'
import https from 'node:https'
import type { AddressInfo } from 'node:net'
import type { Duplex, Readable } from 'node:stream'
import type { Route } from '@hearth/sdk'
import type { z } from 'zod'
import type { HostServices } from '../domain/agent.ts'
import type { Caller, Control } from '../domain/control.ts'
import { AppError, invalid, toAppError } from '../domain/error.ts'
import type { Logger } from '../domain/logger.ts'
import { Authentication } from './auth.ts'
import { errorBody, errorHeaders, statusOfCode } from './errors.ts'
import { InvokeRoute, invokeTarget } from './invoke-route.ts'
import { handlers, routeEntries, streamed, type Handler } from './routes.ts'

export interface HttpOptions {
  readonly control: Control
  readonly logger: Logger
  readonly version: string
  readonly tls?: { readonly cert: Buffer; readonly key: Buffer }
  readonly nowMs?: () => number
}

export interface HttpServer {
  /** Resolves with the port once requests are served. Throws conflict (address in use), invalid (address not of this machine). */
  listen(address: { host: string; port: number }): Promise<number>
  /** `platform-api`: calls that Instances make over their own channels. */
  readonly hostServices: HostServices
  /** Takes no new connection, lets what runs finish until `graceMs`, then cuts. */
  close(graceMs: number): Promise<void>
}

const headerBytesMax = 16 * 1024
/** Bodies of the control API; archives are streamed and have their own limit. */
const jsonBytesMax = 1024 * 1024
const nobody: Caller = { actor: 'nobody', project: '', scopes: [] }

/** The HTTP API over `control`: the invoke path by hand, everything else through fastify by the contract table. */
export async function createHttpServer(options: HttpOptions): Promise<HttpServer> {
  const { control, logger, tls } = options
  const auth = new Authentication(control)
  const invoke = new InvokeRoute({ control, auth, logger, nowMs: options.nowMs ?? Date.now })
  const settings: http.ServerOptions = {
    maxHeaderSize: headerBytesMax,
    headersTimeout: 10_000,
    requestTimeout: 300_000,
    keepAliveTimeout: 65_000,
    noDelay: true,
  }
  let server: http.Server | undefined
  const app = fastify({
    bodyLimit: jsonBytesMax,
    routerOptions: { ignoreTrailingSlash: false, maxParamLength: 256 },
    serverFactory: (handle) => {
      const listener: http.RequestListener = (request, response) => {
        const target = request.method === 'POST' ? invokeTarget(request.url ?? '') : null
        if (target === null) handle(request, response)
        else invoke.handle(request, response, target)
      }
      server =
        tls === undefined
          ? http.createServer(settings, listener)
          : https.createServer({ ...settings, ...tls }, listener)
      return server
    },
  })
  bindRoutes(app, { auth, logger, handle: handlers(control, options.version) })
  await app.ready()
  if (server === undefined) throw new Error('fastify made no server')
  return { ...lifecycle(app, server), hostServices: hostServices(server, auth) }
}

function lifecycle(app: FastifyInstance, server: http.Server): Pick<HttpServer, 'listen' | 'close'> {
  return {
    async listen({ host, port }) {
      try {
        await app.listen({ host, port })
      } catch (cause) {
        throw listenError(cause, { host, port })
      }
      return (server.address() as AddressInfo).port
    },
    async close(graceMs) {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()))
      server.closeIdleConnections()
      const cut = setTimeout(() => server.closeAllConnections(), graceMs)
      await closed
      clearTimeout(cut)
      await app.close()
    },
  }
}

function hostServices(server: http.Server, auth: Authentication): HostServices {
  return {
    open(service, identity, stream: Duplex) {
      if (service !== 'platform-api') return false
      auth.bind(stream, identity)
      server.emit('connection', stream)
      return true
    },
  }
}

interface Binding {
  readonly auth: Authentication
  readonly logger: Logger
  readonly handle: ReturnType<typeof handlers>
}

function bindRoutes(app: FastifyInstance, { auth, logger, handle }: Binding): void {
  // Anything but JSON reaches its handler as a stream, unread.
  app.removeContentTypeParser('text/plain')
  app.addContentTypeParser('*', (_request, payload, done) => done(null, payload))
  app.setErrorHandler((thrown, request, reply) => {
    const error = fromFastify(thrown)
    if (error.code === 'internal')
      logger.error('http.request.failed', { method: request.method, url: request.url, detail: error.detail })
    return reply.headers(errorHeaders(error)).code(statusOfCode[error.code]).send(errorBody(error))
  })
  app.setNotFoundHandler((request, reply) => {
    const error = new AppError(
      'not_found',
      `There is no ${request.method} ${request.url.split('?')[0]}. See /openapi.json.`,
    )
    return reply.code(404).send(errorBody(error))
  })
  for (const [id, row] of routeEntries) {
    const route: Route = row
    app.route({
      method: route.method,
      url: route.path.replaceAll(/\{(\w+)\}/g, ':$1'),
      exposeHeadRoute: false,
      handler: async (request, reply) => answer({ id, route, request, reply, auth, run: handle[id] }),
    })
  }
}

interface Answering {
  readonly id: (typeof routeEntries)[number][0]
  readonly route: Route
  readonly request: FastifyRequest
  readonly reply: FastifyReply
  readonly auth: Authentication
  readonly run: Handler
}

async function answer({ id, route, request, reply, auth, run }: Answering): Promise<unknown> {
  const caller = route.scope === null ? nobody : await auth.caller(request.raw)
  const params = check(route.params, request.params, 'path') as Record<string, string>
  const query = check(route.query, request.query, 'query') as Record<string, unknown>
  const isBytes = route.body === 'bytes'
  const body =
    route.body === undefined || route.body === 'bytes' ? undefined : check(route.body, request.body ?? {}, 'body')
  const content = isBytes ? ((request.body ?? request.raw) as Readable) : request.raw
  const isStream = id === 'getLogs'
  const result = await run({
    id,
    caller,
    params,
    query,
    body,
    raw: { request: request.raw, response: reply.raw, content },
  })
  if (result === streamed) return reply.hijack()
  if (isStream && reply.raw.headersSent) return reply
  if (route.reply === 'text') return reply.type('text/plain; version=0.0.4').send(result)
  const status = reply.raw.statusCode === 200 ? route.status : reply.raw.statusCode
  if (route.reply === 'none') return reply.code(status).send()
  return reply.code(status).type('application/json').send(JSON.stringify(result))
}

/** `input` by its schema. Throws invalid, naming the first field that does not fit. */
function check(schema: z.ZodType | undefined, input: unknown, where: string): unknown {
  if (schema === undefined) return {}
  const parsed = schema.safeParse(input)
  if (parsed.success) return parsed.data
  const [issue] = parsed.error.issues
  const isUnknown = issue?.code === 'unrecognized_keys'
  const path = [...(issue?.path ?? []), ...(isUnknown ? issue.keys.slice(0, 1) : [])].join('.')
  const field = path === '' ? where : path
  const value = isUnknown ? undefined : valueAt(input, issue?.path ?? [])
  throw invalid(
    field,
    value,
    isUnknown ? 'left out: there is no such field' : (issue?.message ?? 'of another form'),
    `Invalid ${field}: ${isUnknown ? 'there is no such field' : (issue?.message ?? 'it does not fit')}.`,
  )
}

function valueAt(input: unknown, path: readonly PropertyKey[]): unknown {
  let value = input
  for (const part of path)
    value = typeof value === 'object' && value !== null ? (value as Record<PropertyKey, unknown>)[part] : undefined
  return typeof value === 'string' && value.length > 200 ? `${value.slice(0, 200)}...` : value
}

/** fastify's own refusals (bad JSON, too large) are the caller's fault, in our words. */
function fromFastify(thrown: unknown): AppError {
  if (
    !(thrown instanceof AppError) &&
    thrown instanceof Error &&
    'statusCode' in thrown &&
    typeof thrown.statusCode === 'number' &&
    thrown.statusCode < 500
  )
    return new AppError('invalid', `${thrown.message.replace(/\.$/, '')}.`, { field: 'body' })
  return toAppError(thrown)
}

function listenError(cause: unknown, { host, port }: { host: string; port: number }): AppError {
  const code = cause instanceof Error && 'code' in cause ? cause.code : undefined
  if (code === 'EADDRINUSE')
    return new AppError(
      'conflict',
      `Cannot listen on ${host}:${port}: the port is in use. Choose another with --port.`,
      { cause },
    )
  if (code === 'EACCES')
    return new AppError(
      'forbidden',
      `Cannot listen on ${host}:${port}: ports below 1024 need a privilege the platform does not keep.`,
      { cause },
    )
  if (code === 'EADDRNOTAVAIL') return invalid('host', host, 'an address of this machine')
  return toAppError(cause)
}
