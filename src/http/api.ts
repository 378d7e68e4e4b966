import { routes, type Route } from '@hearth/sdk'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { IncomingMessage } from 'node:http'
import type { Readable } from 'node:stream'
import type { Caller, Control } from '../domain/control.ts'
import { AppError, invalid, toAppError } from '../domain/error.ts'
import type { Logger } from '../domain/logger.ts'
import type { Authentication } from './auth.ts'
import type { BodyWatch } from './body-watch.ts'
import { check } from './check.ts'
import type { UrlPlace } from './url-place.ts'
import { errorBody, errorHeaders, HttpRefusal, keyedLeftBytesMax, leaveBody, statusOf } from './errors.ts'
import { streamed, tableRoutes, type Handler } from './call.ts'
import { handlers } from './routes.ts'

export interface ApiOptions {
  readonly control: Control
  readonly auth: Authentication
  readonly logger: Logger
  readonly bodies: BodyWatch
  readonly version: string
  readonly urlPlace: UrlPlace
}

const nobody: Caller = { actor: 'nobody', project: '', scopes: [] }

/** Binds the contract table to `app`: authentication before the body is read, then schemas, then the handler. */
export function bindApi(app: FastifyInstance, options: ApiOptions): void {
  const { auth, logger, bodies } = options
  const run = handlers(options.control, options)
  app.removeAllContentTypeParsers()
  const callers = new WeakMap<IncomingMessage, Caller>()
  app.setErrorHandler((thrown, request, reply) =>
    fail(thrown, { request, reply, logger, hasKey: callers.has(request.raw) }),
  )
  app.setNotFoundHandler((request, reply) => notFound(request, reply))
  const rowsOf = (isBytes: boolean) => tableRoutes.filter(([, row]) => isBytes === (bodyOf(row) === 'bytes'))
  const bind = (scope: FastifyInstance, isBytes: boolean): void => {
    for (const [id, row] of rowsOf(isBytes)) bindRoute(scope, { row, handle: run[id], auth, logger, bodies, callers })
  }
  // Two kinds of body, each with its own reading: one never has to guess by Content-Type what the other would be.
  void app.register(async (scope) => {
    scope.addContentTypeParser('application/json', { parseAs: 'string' }, jsonParser(scope))
    bind(scope, false)
  })
  void app.register(async (scope) => {
    scope.addContentTypeParser('*', (_request, payload, done) => done(null, payload))
    bind(scope, true)
  })
}

interface Binding {
  readonly row: Route
  readonly handle: Handler
  readonly auth: Authentication
  readonly logger: Logger
  readonly bodies: BodyWatch
  readonly callers: WeakMap<IncomingMessage, Caller>
}

function bindRoute(app: FastifyInstance, { row, handle, auth, logger, bodies, callers }: Binding): void {
  app.route({
    method: row.method,
    url: urlOf(row.path),
    exposeHeadRoute: row.method === 'GET',
    onRequest: async (request) => {
      if (row.scope === null) return
      callers.set(request.raw, await auth.caller(request.raw))
      // Whoever has a key may send what is large as slowly as the network is.
      if (bodyOf(row) === 'bytes') bodies.isUpload(request.raw)
    },
    handler: async (request, reply) => {
      const body = bodyOf(row)
      const result = await handle({
        caller: callers.get(request.raw) ?? nobody,
        params: check(row.params, paramsOf(row, request.params), 'path') as Record<string, string>,
        query: check(row.query, request.query, 'query') as Record<string, unknown>,
        body: body === 'bytes' ? undefined : check(body, request.body ?? {}, 'body', row.isSecret),
        raw: {
          request: request.raw,
          response: reply.raw,
          content: body === 'bytes' ? ((request.body ?? request.raw) as Readable) : request.raw,
        },
        onLateError: (error) => logLate(logger, request, error),
      })
      return answer(reply, row, result)
    },
  })
}

function urlOf(path: string): string {
  return path.replace(restPattern, '*').replaceAll(/\{(\w+)\}/g, ':$1')
}

const restPattern = /\{(\w+)\.{3}\}$/

/** fastify calls the rest of the path `*`. */
function paramsOf({ path }: Route, params: unknown): unknown {
  const rest = restPattern.exec(path)?.[1]
  if (rest === undefined) return params
  const { '*': value, ...others } = params as Record<string, string>
  return { ...others, [rest]: value }
}

function answer(reply: FastifyReply, row: Route, result: unknown): FastifyReply {
  if (result === streamed) return reply.hijack()
  if (row.reply === 'text') return reply.type('text/plain; version=0.0.4').send(result)
  const status = reply.raw.statusCode === 200 ? row.status : reply.raw.statusCode
  if (row.reply === 'none') return reply.code(status).send()
  return reply.code(status).type('application/json').send(JSON.stringify(result))
}

function bodyOf(row: Route): Route['body'] {
  return row.body
}

type Parser = (request: unknown, body: string, done: (error: Error | null, value?: unknown) => void) => void

/** An empty body is none: many clients name a Content-Type even where they send nothing. */
function jsonParser(app: FastifyInstance): Parser {
  const parse = app.getDefaultJsonParser('error', 'error') as unknown as Parser
  return (request, body, done) => {
    if (body === '') done(null, undefined)
    else parse(request, body, (error, value) => done(error === null ? null : named(error, body), value))
  }
}

/** Says which key was refused: the text is JSON all the same. */
function named(error: Error, body: string): Error {
  if (!isJson(body)) return error
  return invalid(
    'body',
    undefined,
    '',
    'Invalid body: it must not hold the key "__proto__", nor "constructor" with "prototype" in it.',
  )
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}

interface Failing {
  readonly request: FastifyRequest
  readonly reply: FastifyReply
  readonly logger: Logger
  readonly hasKey: boolean
}

function fail(thrown: unknown, { request, reply, logger, hasKey }: Failing): FastifyReply {
  const error = fromFastify(thrown)
  const { method, url } = request
  // A client that goes while it sends is no failure of ours.
  const isGone = thrown === request.raw.errored
  if (error.code === 'internal' && !isGone) logger.error('http.request.failed', { method, url, detail: error.detail })
  if (!leaveBody(request.raw, hasKey ? keyedLeftBytesMax : undefined)) void reply.header('connection', 'close')
  return reply
    .headers(errorHeaders(error))
    .code(statusOf(error))
    .type('application/json')
    .send(JSON.stringify(errorBody(error)))
}

/** Answers what fastify refuses before it looks for a route. */
export function refuseUnrouted(thrown: Error, request: FastifyRequest, reply: FastifyReply): void {
  const path = (request.url.split('?')[0] ?? '').slice(0, 200)
  const isUndecodable = 'code' in thrown && thrown.code === 'FST_ERR_BAD_URL'
  const allowed = 'percent escapes of UTF-8, e.g. %20'
  const error = isUndecodable
    ? new AppError('invalid', `Invalid path ${JSON.stringify(path)}: must hold ${allowed}.`, {
        field: 'path',
        value: path,
        allowed,
      })
    : toAppError(thrown)
  if (!leaveBody(request.raw)) void reply.header('connection', 'close')
  void reply
    .code(statusOf(error))
    .type('application/json')
    .send(JSON.stringify(errorBody(error)))
}

function logLate(logger: Logger, { method, url }: FastifyRequest, thrown: unknown): void {
  const { code, message, detail } = toAppError(thrown)
  logger.error('http.reply.failed', { method, url, code, message, detail })
}

/** fastify's own refusals are the caller's fault, in our words. */
function fromFastify(thrown: unknown): AppError {
  if (thrown instanceof AppError || !(thrown instanceof Error) || !('statusCode' in thrown)) return toAppError(thrown)
  switch (thrown.statusCode) {
    case 413:
      return new HttpRefusal(413, 'The body is too large for this call.', { field: 'body' })
    case 415:
      return new HttpRefusal(415, 'This call takes a JSON body: send "Content-Type: application/json".', {
        field: 'Content-Type',
        allowed: 'application/json',
      })
    case 400:
      return new AppError('invalid', `${thrown.message.replace(/\.$/, '')}.`, { field: 'body' })
    default:
      return toAppError(thrown)
  }
}

const patterns = Object.values<Route>(routes).map(({ method, path }) => ({
  method,
  pattern: new RegExp(
    `^${path
      .replace(restPattern, '*')
      .replaceAll('.', '\\.')
      .replaceAll(/\{\w+\}/g, '[^/]+')
      .replace(/\*$/, '.+')}$`,
  ),
}))

/** A path that exists with other methods says which. */
function notFound(request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const path = request.url.split('?')[0] ?? ''
  const methods = patterns.filter(({ pattern }) => pattern.test(path)).map(({ method }) => method)
  const allow = [...new Set(methods.flatMap((method) => (method === 'GET' ? ['GET', 'HEAD'] : [method])))].join(', ')
  if (!leaveBody(request.raw)) void reply.header('connection', 'close')
  if (methods.length > 0 && request.method === 'OPTIONS') return reply.code(204).header('allow', allow).send()
  const what = `There is no ${request.method} ${path.slice(0, 200)}.`
  if (methods.length > 0) {
    const error = new HttpRefusal(405, `${what} This path takes ${allow}.`, { field: 'method', allowed: allow })
    return reply.code(405).header('allow', allow).send(errorBody(error))
  }
  return reply.code(404).send(errorBody(new AppError('not_found', `${what} See /openapi.json.`)))
}
