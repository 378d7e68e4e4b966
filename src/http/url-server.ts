import http from 'node:http'
import https from 'node:https'
import type { AddressInfo } from 'node:net'
import type { Duplex } from 'node:stream'
import type { Control } from '../domain/control.ts'
import { limits } from '../domain/limits.ts'
import type { Logger } from '../domain/logger.ts'
import { Authentication } from './auth.ts'
import type { HeldBytes } from './held-bytes.ts'
import { listenError, serverSettings, type TlsPair } from './server-settings.ts'
import { UrlExchange, type UrlExchangeHost } from './url-exchange.ts'
import type { UrlPlace } from './url-place.ts'
import { refusals } from './url-refusals.ts'

export interface UrlServerOptions {
  readonly control: Control
  readonly logger: Logger
  readonly tls?: TlsPair
  /** Hosts are `NAME.domain`; default: `localhost`. */
  readonly domain?: string
  readonly streamRequestMib?: number
  readonly nowMs?: () => number
  readonly held: HeldBytes
  /** That signed requests must be signed for; default: `us-east-1`. */
  readonly region?: string
}

export interface UrlServer {
  /** Throws conflict (address in use), invalid. `orAny`: a free port when `port` is in use. */
  listen(address: { host: string; port: number; orAny?: boolean }): Promise<UrlPlace>
  /** Connections that come from here on get this certificate; no effect without TLS. */
  setTls(pair: TlsPair): void
  close(graceMs: number): Promise<void>
}

const closeSweepMs = 50
/** A refused upgrade is read by then. */
const lingerMs = 2_000

/** The functions' own HTTP server, on a port apart from the API: a page of a function never shares an origin with it. */
export function createUrlServer(options: UrlServerOptions): UrlServer {
  const { control, logger, tls, held, nowMs = Date.now, domain = '', region = 'us-east-1' } = options
  const requestBytesMax = (options.streamRequestMib ?? limits.streamMib.default) * 2 ** 20
  let place: UrlPlace = { scheme: tls === undefined ? 'http' : 'https', port: 0, domain: domain || 'localhost' }
  const auth = new Authentication(control)
  const host: UrlExchangeHost = {
    control,
    auth,
    logger,
    requestBytesMax,
    held,
    region,
    nowMs,
    get place() {
      return place
    },
  }
  let isClosing = false
  const serve = (request: http.IncomingMessage, response: http.ServerResponse, upgrade: Duplex | null): void => {
    if (isClosing) {
      response.writeHead(503, refusals.closing.headers.flat())
      return void response.end(refusals.closing.body)
    }
    void new UrlExchange(host, { request, response, upgrade }).start()
  }
  const settings = {
    ...serverSettings,
    shouldUpgradeCallback: ({ headers }: http.IncomingMessage) => headers.upgrade?.toLowerCase() === 'websocket',
  }
  const server = tls === undefined ? http.createServer(settings) : https.createServer({ ...settings, ...tls })
  const switched = new Set<Duplex>()
  server.on('request', (request, response) => serve(request, response, null))
  server.on('upgrade', (request: http.IncomingMessage, socket: Duplex, first: Buffer) => {
    switched.add(socket)
    socket.on('close', () => switched.delete(socket))
    // The function sees its peer go; nobody else needs to know why.
    socket.on('error', () => {})
    if (first.length > 0) socket.unshift(first)
    serve(request, upgradeResponse(request, socket), socket)
  })
  return {
    async listen(address) {
      await listening(server, address)
      place = { ...place, port: (server.address() as AddressInfo).port }
      return place
    },
    setTls(pair) {
      if (server instanceof https.Server) server.setSecureContext(pair)
    },
    async close(graceMs) {
      isClosing = true
      const closed = new Promise<void>((resolve) => server.close(() => resolve()))
      const sweep = setInterval(() => server.closeIdleConnections(), closeSweepMs)
      const cut = setTimeout(() => {
        server.closeAllConnections()
        for (const socket of switched) socket.destroy()
      }, graceMs)
      await closed
      clearInterval(sweep)
      clearTimeout(cut)
    },
  }
}

/** For an answer other than the switch that was asked for. */
function upgradeResponse(request: http.IncomingMessage, socket: Duplex): http.ServerResponse {
  const response = new http.ServerResponse(request)
  response.shouldKeepAlive = false
  response.assignSocket(socket as never)
  // Whoever asked need not close its end: nothing more is read of it.
  response.on('finish', () => {
    socket.end()
    socket.resume()
    setTimeout(() => socket.destroy(), lingerMs).unref()
  })
  return response
}

async function listening(
  server: http.Server,
  { host, port, orAny = false }: { host: string; port: number; orAny?: boolean },
): Promise<void> {
  const attempt = async (at: number): Promise<void> =>
    new Promise((resolve, reject) => {
      server.once('error', reject)
      server.listen({ host, port: at }, () => {
        server.removeListener('error', reject)
        resolve()
      })
    })
  try {
    await attempt(port).catch((error: unknown) => (orAny ? attempt(0) : Promise.reject(error)))
  } catch (cause) {
    throw listenError(cause, { host, port, flag: '--url-port' })
  }
}
