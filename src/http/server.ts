import { fastify, type FastifyInstance } from 'fastify'
import http from 'node:http'
import https from 'node:https'
import type { AddressInfo } from 'node:net'
import type { Duplex } from 'node:stream'
import type { HostServices } from '../domain/agent.ts'
import type { Control } from '../domain/control.ts'
import { AppError } from '../domain/error.ts'
import type { Logger } from '../domain/logger.ts'
import { bindApi, refuseUnrouted } from './api.ts'
import { Authentication } from './auth.ts'
import { BodyWatch, type BodyWatchOptions } from './body-watch.ts'
import { errorBody, leaveBody } from './errors.ts'
import type { HeldBytes } from './held-bytes.ts'
import { InvokeRoute, invokeTarget } from './invoke-route.ts'
import { bodyTimes, listenError, serverSettings, type TlsPair } from './server-settings.ts'
import { refuseExpectation, refuseUnparsed } from './unparsed.ts'
import type { UrlPlace } from './url-place.ts'

export interface HttpOptions {
  readonly control: Control
  readonly logger: Logger
  readonly version: string
  readonly tls?: TlsPair
  readonly nowMs?: () => number
  /** How long clients may take to send; default: `bodyTimes`. */
  readonly bodyTimes?: BodyWatchOptions
  /** Where functions' URLs are served. */
  readonly urlPlace: UrlPlace
  /** What is held here and by functions' URLs. */
  readonly held: HeldBytes
}

export interface HttpServer {
  /** Resolves with the port once requests are served. Throws conflict (address in use), invalid (address not of this machine). */
  listen(address: { host: string; port: number }): Promise<number>
  /** `platform-api`: calls that Instances make over their own channels. */
  readonly hostServices: HostServices
  /** Connections that come from here on get this certificate; no effect without TLS. */
  setTls(pair: TlsPair): void
  /** Takes no new connection and no new request, lets what runs finish until `graceMs`, then cuts. */
  close(graceMs: number): Promise<void>
}

/** Bodies of the control API; archives are streamed and have their own limit. */
const jsonBytesMax = 1024 * 1024
/** A connection that became idle while the server closes lives at most this long. */
const closeSweepMs = 50

/** Bodies are checked by the contract table. Without this fastify loads its own compilers all the same: 600 KB of source, 6 MB of memory. */
const noSchemas = { compilersFactory: { buildValidator: noCompiler, buildSerializer: noCompiler } }

function noCompiler(): never {
  throw new Error('Routes carry no fastify schema: their shapes are in the contract table.')
}

/** The HTTP API over `control`: the invoke path by hand, everything else through fastify by the contract table. */
export async function createHttpServer(options: HttpOptions): Promise<HttpServer> {
  const { control, logger, tls, held } = options
  const auth = new Authentication(control)
  const invoke = new InvokeRoute({ control, auth, logger, nowMs: options.nowMs ?? Date.now, held })
  const closing = { isClosing: false }
  const bodies = new BodyWatch(options.bodyTimes ?? bodyTimes)
  const connection = tls === undefined ? 'connection' : 'secureConnection'
  let server: http.Server | undefined
  const app = fastify({
    bodyLimit: jsonBytesMax,
    schemaController: noSchemas,
    routerOptions: { maxParamLength: 256 },
    // What fastify refuses before any route: paths that cannot be decoded.
    frameworkErrors: (error, request, reply) => refuseUnrouted(error, request, reply),
    clientErrorHandler: refuseUnparsed,
    serverFactory: (handle) => {
      const listener: http.RequestListener = (request, response) => {
        bodies.began(request, response)
        if (closing.isClosing) return refuseWhileClosing(request, response)
        const target = request.method === 'POST' ? invokeTarget(request.url ?? '') : null
        if (target === null) handle(request, response)
        else invoke.handle(request, response, target)
      }
      server =
        tls === undefined
          ? http.createServer(serverSettings, listener)
          : https.createServer({ ...serverSettings, ...tls }, listener)
      server.on(connection, (socket: Duplex) => bodies.connected(socket))
      server.on('checkExpectation', refuseExpectation)
      return server
    },
  })
  bindApi(app, { control, auth, logger, bodies, version: options.version, urlPlace: options.urlPlace })
  await app.ready()
  if (server === undefined) throw new Error('fastify made no server')
  return {
    ...lifecycle(app, server, { closing, bodies }),
    hostServices: hostServices(server, { auth, event: connection }),
  }
}

function lifecycle(
  app: FastifyInstance,
  server: http.Server,
  { closing, bodies }: { closing: { isClosing: boolean }; bodies: BodyWatch },
): Pick<HttpServer, 'listen' | 'setTls' | 'close'> {
  return {
    setTls(pair) {
      if (server instanceof https.Server) server.setSecureContext(pair)
    },
    async listen({ host, port }) {
      try {
        await app.listen({ host, port })
      } catch (cause) {
        throw listenError(cause, { host, port, flag: '--port' })
      }
      return (server.address() as AddressInfo).port
    },
    async close(graceMs) {
      closing.isClosing = true
      const closed = new Promise<void>((resolve) => server.close(() => resolve()))
      const sweep = setInterval(() => server.closeIdleConnections(), closeSweepMs)
      const cut = setTimeout(() => server.closeAllConnections(), graceMs)
      await closed
      bodies.close()
      clearInterval(sweep)
      clearTimeout(cut)
      await app.close()
    },
  }
}

/** A request on a connection that was there before. */
function refuseWhileClosing(request: http.IncomingMessage, response: http.ServerResponse): void {
  const error = new AppError('capacity', 'The platform is shutting down.', { retryAfterMs: 1_000 })
  leaveBody(request)
  response.writeHead(503, { 'content-type': 'application/json', 'retry-after': '1', connection: 'close' })
  response.end(JSON.stringify(errorBody(error)))
}

/** A stream from an Instance is a connection like any other, but for who it is: that was settled when it was opened. It is inside the
 *  machine and never encrypted, so under TLS it joins where the handshake is over. */
function hostServices(
  server: http.Server,
  { auth, event }: { auth: Authentication; event: 'connection' | 'secureConnection' },
): HostServices {
  return {
    open(service, identity, stream: Duplex) {
      if (service !== 'platform-api') return false
      auth.bind(stream, identity)
      server.emit(event, stream)
      return true
    },
  }
}
