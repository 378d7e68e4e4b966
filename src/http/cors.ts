import type { IncomingMessage } from 'node:http'
import type { CorsConfig } from '../domain/function-url.ts'

export function isPreflight({ method, headers }: IncomingMessage): boolean {
  return method === 'OPTIONS' && headers.origin !== undefined && headers['access-control-request-method'] !== undefined
}

/** Headers that let the page of `origin` read the reply; none for an origin that may not. */
export function corsHeaders(cors: CorsConfig, origin: string | undefined): [string, string][] {
  const allowed = origin === undefined ? null : allowedOrigin(cors, origin)
  if (allowed === null) return [['vary', 'Origin']]
  return [
    ['access-control-allow-origin', allowed],
    ['vary', 'Origin'],
    ...listed('access-control-expose-headers', cors.exposeHeaders),
    ...(cors.allowCredentials ? [['access-control-allow-credentials', 'true'] as [string, string]] : []),
  ]
}

/** The same and what a preflight asks beside. */
export function preflightHeaders(cors: CorsConfig, { headers }: IncomingMessage): [string, string][] {
  const common = corsHeaders(cors, headers.origin)
  if (common.length === 1) return common
  return [
    ...common,
    ...listed('access-control-allow-methods', cors.allowMethods),
    ...listed('access-control-allow-headers', cors.allowHeaders),
    ...(cors.maxAgeSeconds > 0 ? [['access-control-max-age', String(cors.maxAgeSeconds)] as [string, string]] : []),
  ]
}

function allowedOrigin({ allowOrigins }: CorsConfig, origin: string): string | null {
  if (allowOrigins.includes(origin)) return origin
  return allowOrigins.includes('*') ? '*' : null
}

function listed(name: string, values: readonly string[]): [string, string][] {
  return values.length === 0 ? [] : [[name, values.join(', ')]]
}
