import type { OriginAddress } from '../domain/code-source.ts'
import { ClosedAddress, publicLookup, refuseClosedLiteral } from './public-address.ts'
import { connectionProblem, isCertificateError, refuse, Trouble } from './trouble.ts'
import http, { type IncomingMessage } from 'node:http'
import https from 'node:https'

export interface WebGuard {
  /** Addresses that are not the internet's too. */
  readonly allowsPrivate: boolean
  /** Until the answer begins. */
  readonly answerMs: number
  /** Hosts (with their port, unless it is 80) that may be asked by plain http, wherever they are. */
  readonly plainHosts: ReadonlySet<string>
}

export interface WebRequest {
  readonly url: URL
  readonly headers: Readonly<Record<string, string>>
}

export const redirectStatuses: readonly number[] = [301, 302, 303, 307, 308]
export const redirectsMax = 5

/** Asks for `url` with GET; the answer's body is the caller's to read or destroy. Throws invalid (not https, closed address, certificate) in the name of
 *  `address`, Trouble (connection). */
export async function askWeb(
  address: OriginAddress,
  { url, headers }: WebRequest,
  { allowsPrivate, answerMs, plainHosts }: WebGuard,
): Promise<IncomingMessage> {
  const isPlain = url.protocol === 'http:' && plainHosts.has(url.host)
  if (url.protocol !== 'https:' && !isPlain)
    throw refuse(address, `it leads to ${url.protocol}//${url.host}`, 'Only https is fetched.')
  const isGuarded = !allowsPrivate && !isPlain
  try {
    if (isGuarded) refuseClosedLiteral(url.hostname)
    return await new Promise<IncomingMessage>((resolve, reject) => {
      const { request: begin } = isPlain ? http : https
      const request = begin(url, {
        headers: { 'accept-encoding': 'identity', 'user-agent': 'hearth', ...headers },
        agent: false,
        ...(isGuarded && { lookup: publicLookup }),
      })
      const timer = setTimeout(() => request.destroy(new Trouble(`no answer within ${answerMs / 1_000} s`)), answerMs)
      request.on('response', (reply) => {
        clearTimeout(timer)
        resolve(reply)
      })
      request.on('error', (error) => {
        clearTimeout(timer)
        reject(error)
      })
      request.end()
    })
  } catch (error) {
    throw explain(address, error)
  }
}

/** Where a redirect leads. Throws invalid. */
export function redirectTarget(address: OriginAddress, reply: IncomingMessage, from: URL): URL {
  const { location } = reply.headers
  if (location === undefined || !URL.canParse(location, from))
    throw refuse(address, 'it redirects to nowhere', 'Name the address of the thing itself.')
  return new URL(location, from)
}

/** Where a part begins, and how large the whole is, as the headers of a 200 or 206 say. */
export function partOf({ statusCode, headers }: IncomingMessage): { offset: number; bytes: number | null } {
  const [, start, whole] = /^bytes (\d+)-\d+\/(\d+)$/.exec(headers['content-range'] ?? '') ?? []
  if (statusCode === 206 && start !== undefined) return { offset: Number(start), bytes: Number(whole) }
  const length = headers['content-length']
  return { offset: 0, bytes: length === undefined ? null : Number(length) }
}

/** What may be over soon. */
export function isPassing(statusCode: number): boolean {
  return statusCode === 408 || statusCode === 429 || statusCode >= 500
}

function explain(address: OriginAddress, error: unknown): unknown {
  if (error instanceof ClosedAddress)
    return refuse(
      address,
      `${error.message} is not an address of the internet`,
      'Private and link-local addresses are closed, unless the operator sets allowPrivateSources.',
    )
  if (isCertificateError(error))
    return refuse(
      address,
      `its certificate is not trusted (${String(error instanceof Error ? error.message : error)})`,
      'Serve it with a certificate that this machine trusts.',
    )
  const problem = connectionProblem(error)
  return problem === null ? error : new Trouble(problem)
}
