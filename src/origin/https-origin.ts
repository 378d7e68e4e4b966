import type { OriginAddress } from '../domain/code-source.ts'
import type { OpenPart, Part } from './resumable.ts'
import { changedMeanwhile, refuse, Trouble } from './trouble.ts'
import {
  askWeb,
  isPassing,
  partOf,
  redirectsMax,
  redirectStatuses,
  redirectTarget,
  type WebGuard,
} from './web-request.ts'
import type { IncomingMessage } from 'node:http'

type HttpsAddress = OriginAddress & { readonly kind: 'https' }

/** Opens a file on the web. Each hop of a redirect is held to the same rules. */
export function httpsOpener(address: HttpsAddress, guard: WebGuard): OpenPart {
  return async (from) => {
    let url = new URL(address.url)
    for (let hop = 0; hop <= redirectsMax; hop++) {
      const reply = await askWeb(address, { url, headers: headersOf(from) }, guard)
      if (!redirectStatuses.includes(reply.statusCode ?? 0)) return toPart(address, reply, from)
      reply.destroy()
      url = redirectTarget(address, reply, url)
    }
    throw refuse(address, `it redirects more than ${redirectsMax} times`, 'Name the address of the file itself.')
  }
}

function headersOf({ offset, etag }: Parameters<OpenPart>[0]): Record<string, string> {
  const isStrong = etag !== null && !etag.startsWith('W/')
  return {
    accept: '*/*',
    ...(offset > 0 && { range: `bytes=${offset}-` }),
    ...(offset > 0 && isStrong && { 'if-match': etag }),
  }
}

function toPart(address: HttpsAddress, reply: IncomingMessage, { offset }: Parameters<OpenPart>[0]): Part {
  const { statusCode = 0, headers } = reply
  if (statusCode === 200 || statusCode === 206)
    return { content: reply, ...partOf(reply), etag: headers.etag ?? null, versionId: null }
  reply.destroy()
  if (statusCode === 412 || (statusCode === 416 && offset > 0)) throw changedMeanwhile(address)
  if (isPassing(statusCode)) throw new Trouble(`the server answers ${statusCode}`)
  if (statusCode === 401 || statusCode === 403)
    throw refuse(address, `the server refuses it (${statusCode})`, 'Name an address that needs no login.')
  throw refuse(address, `the server answers ${statusCode}`, 'Name the address of a file that is there.')
}
