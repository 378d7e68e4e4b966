import type { IncomingMessage } from 'node:http'
import { pairsOf } from './url-headers.ts'

/** Scheme and authority of an absolute-form target; userinfo has no place in it (RFC 9110, 4.2.4). */
const absolute = /^https?:\/\/([^/?#@\s]+)(?=[/?]|$)/i

/** Puts `request` into origin form, which all others here read: a server must accept `GET http://HOST/PATH`, and take its authority for the Host (RFC 9112, 3.2.2).
 *  False for what is neither, or does not name its host once. */
export function takeOriginForm(request: IncomingMessage): boolean {
  const hosts = pairsOf(request.rawHeaders).filter(([name]) => name.toLowerCase() === 'host')
  if (hosts.length !== 1) return false
  const target = request.url ?? ''
  if (target.startsWith('/')) return true
  const [whole = '', authority] = absolute.exec(target) ?? []
  if (authority === undefined) return false
  const rest = target.slice(whole.length)
  request.url = rest.startsWith('/') ? rest : `/${rest}`
  request.headers.host = authority
  const { rawHeaders } = request
  const at = rawHeaders.findIndex((name, index) => index % 2 === 0 && name.toLowerCase() === 'host')
  rawHeaders[at + 1] = authority
  return true
}
