import type { IncomingMessage } from 'node:http'
import { TLSSocket } from 'node:tls'
import type { FunctionUrl } from '../domain/function-url.ts'
import type { UrlTarget } from './url-place.ts'

export type HeaderList = [string, string][]

const hopByHop = new Set([
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
])

/** Set here: what a client says under these names is dropped, so that nobody can claim another address. */
const own = new Set([
  'x-forwarded-for',
  'x-forwarded-proto',
  'x-forwarded-host',
  'x-forwarded-port',
  'x-forwarded-prefix',
  'forwarded',
])

/** What `request` says to the function: end to end headers as they came, in their order, and where it came from. */
export function forwardedHeaders(
  request: IncomingMessage,
  { auth }: Pick<FunctionUrl, 'auth'>,
  { prefix }: UrlTarget,
): HeaderList {
  const dropped = connectionNames(request.headers.connection)
  const headers = pairsOf(request.rawHeaders).filter(([name]) => {
    const lower = name.toLowerCase()
    // A key is its holder's and the platform's business, and so is a signature.
    if (lower === 'authorization' && auth !== 'none') return false
    return !hopByHop.has(lower) && !own.has(lower) && !dropped.has(lower)
  })
  const { socket } = request
  headers.push(['x-forwarded-for', sourceIp(request)])
  headers.push(['x-forwarded-proto', socket instanceof TLSSocket ? 'https' : 'http'])
  headers.push(['x-forwarded-port', String(socket.localPort ?? 0)])
  headers.push(['x-forwarded-host', request.headers.host ?? ''])
  if (prefix !== '') headers.push(['x-forwarded-prefix', prefix])
  return headers
}

/** What of a function's headers goes to the client: the rest belongs to one connection. */
export function endToEnd(headers: readonly (readonly [string, string])[]): HeaderList {
  const connection = headers.filter(([name]) => name.toLowerCase() === 'connection').map(([, value]) => value)
  const dropped = connectionNames(connection.join(','))
  return headers
    .filter(([name]) => !hopByHop.has(name.toLowerCase()) && !dropped.has(name.toLowerCase()))
    .map(([name, value]) => [name, value])
}

export function sourceIp({ socket }: IncomingMessage): string {
  return (socket.remoteAddress ?? '').replace(/^::ffff:/, '')
}

export function pairsOf(raw: readonly string[]): HeaderList {
  const pairs: HeaderList = []
  for (let at = 0; at + 1 < raw.length; at += 2) pairs.push([raw[at] ?? '', raw[at + 1] ?? ''])
  return pairs
}

/** The one valid Content-Length in `headers`; null without, or where there is no telling. */
export function lengthIn(headers: HeaderList): number | null {
  const values = headers.filter(([name]) => name.toLowerCase() === 'content-length').map(([, value]) => value)
  const [value = ''] = values
  return values.length === 1 && /^\d{1,15}$/.test(value) ? Number(value) : null
}

/** Whatever their headers say: a 304's Content-Length is that of the answer which it stands for (RFC 9110, 8.6). */
export function isBodiless(status: number): boolean {
  return status === 204 || status === 304
}

/** Headers that `Connection` names go no further than it. */
function connectionNames(connection: string | undefined): ReadonlySet<string> {
  const names = (connection ?? '').split(',').map((name) => name.trim().toLowerCase())
  return new Set(names)
}
