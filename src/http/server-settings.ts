import type http from 'node:http'
import type { BodyWatchOptions } from './body-watch.ts'
import { AppError, invalid, toAppError } from '../domain/error.ts'

/** Slow and hostile clients: what they may hold, and for how long. There is no check of `Host` against DNS rebinding: every route that
 *  tells or does anything needs a key, which no web page has. */
export const serverSettings: http.ServerOptions = {
  maxHeaderSize: 16 * 1024,
  headersTimeout: 10_000,
  // Bodies have their times below, and on functions' own URLs none: there a large one may take as long as its function.
  requestTimeout: 0,
  connectionsCheckingInterval: 5_000,
  keepAliveTimeout: 65_000,
  noDelay: true,
}
/** In PEM. */
export interface TlsPair {
  readonly cert: string
  readonly key: string
}

/** Of the API. Clients wait 300 s for an answer; the sum of what they send, and how slowly, is theirs. */
export const bodyTimes: BodyWatchOptions = { sweepMs: 5_000, totalMs: 300_000, stallMs: 60_000 }

export function listenError(
  cause: unknown,
  { host, port, flag }: { host: string; port: number; flag: string },
): AppError {
  const code = cause instanceof Error && 'code' in cause ? cause.code : undefined
  const where = `Cannot listen on ${host}:${port}`
  if (code === 'EADDRINUSE')
    return new AppError('conflict', `${where}: the port is in use. Choose another with ${flag}.`, { cause })
  if (code === 'EACCES')
    return new AppError('forbidden', `${where}: ports below 1024 need a privilege the platform does not keep.`, {
      cause,
    })
  if (code === 'EADDRNOTAVAIL') return invalid('host', host, 'an address of this machine')
  return toAppError(cause)
}
