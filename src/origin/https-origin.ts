import type { OriginAddress } from '../domain/code-source.ts'
import { ClosedAddress, publicLookup, refuseClosedLiteral } from './public-address.ts'
import type { OpenPart, Part } from './resumable.ts'
import { changedMeanwhile, connectionProblem, isCertificateError, refuse, Trouble } from './trouble.ts'
import type { IncomingMessage } from 'node:http'
import https from 'node:https'

type HttpsAddress = OriginAddress & { readonly kind: 'https' }

export interface HttpsOptions {
  /** Addresses that are not the internet's too. */
  readonly allowsPrivate: boolean
  /** Until the answer begins. */
  readonly answerMs: number
}

const redirectsMax = 5

/** Opens a file on the web. Each hop of a redirect is held to the same rules. */
export function httpsOpener(address: HttpsAddress, options: HttpsOptions): OpenPart {
  return async (from) => {
    let url = new URL(address.url)
    for (let hop = 0; hop <= redirectsMax; hop++) {
      const reply = await ask(address, { url, from, ...options })
      const { statusCode = 0, headers } = reply
      if (![301, 302, 303, 307, 308].includes(statusCode)) return toPart(address, reply, from)
      reply.destroy()
      const location = headers.location
      if (location === undefined || !URL.canParse(location, url))
        throw refuse(address, 'it redirects to nowhere', 'Name the address of the file itself.')
      url = new URL(location, url)
    }
    throw refuse(address, `it redirects more than ${redirectsMax} times`, 'Name the address of the file itself.')
  }
}

interface Question extends HttpsOptions {
  readonly url: URL
  readonly from: Parameters<OpenPart>[0]
}

async function ask(address: HttpsAddress, { url, from, allowsPrivate, answerMs }: Question): Promise<IncomingMessage> {
  if (url.protocol !== 'https:') throw refuse(address, `it leads to ${url.protocol}//`, 'Only https is fetched.')
  try {
    if (!allowsPrivate) refuseClosedLiteral(url.hostname)
    return await new Promise<IncomingMessage>((resolve, reject) => {
      const request = https.request(url, {
        headers: headersOf(from),
        agent: false,
        ...(!allowsPrivate && { lookup: publicLookup }),
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

function headersOf({ offset, etag }: Question['from']): Record<string, string> {
  const isStrong = etag !== null && !etag.startsWith('W/')
  return {
    accept: '*/*',
    'accept-encoding': 'identity',
    'user-agent': 'hearth',
    ...(offset > 0 && { range: `bytes=${offset}-` }),
    ...(offset > 0 && isStrong && { 'if-match': etag }),
  }
}

function explain(address: HttpsAddress, error: unknown): unknown {
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

function toPart(address: HttpsAddress, reply: IncomingMessage, { offset }: Question['from']): Part {
  const { statusCode = 0, headers } = reply
  if (statusCode === 200 || statusCode === 206) {
    const [, start, whole] = /^bytes (\d+)-\d+\/(\d+)$/.exec(headers['content-range'] ?? '') ?? []
    const isPart = statusCode === 206 && start !== undefined
    const length = headers['content-length']
    return {
      content: reply,
      offset: isPart ? Number(start) : 0,
      bytes: isPart ? Number(whole) : length === undefined ? null : Number(length),
      etag: headers.etag ?? null,
      versionId: null,
    }
  }
  reply.destroy()
  if (statusCode === 412 || (statusCode === 416 && offset > 0)) throw changedMeanwhile(address)
  if (statusCode === 408 || statusCode === 429 || statusCode >= 500)
    throw new Trouble(`the server answers ${statusCode}`)
  if (statusCode === 401 || statusCode === 403)
    throw refuse(address, `the server refuses it (${statusCode})`, 'Name an address that needs no login.')
  throw refuse(address, `the server answers ${statusCode}`, 'Name the address of a file that is there.')
}
