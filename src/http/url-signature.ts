import { createHash } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import type { Caller, Control } from '../domain/control.ts'
import { AppError } from '../domain/error.ts'
import { canonicalHash, type SignableHead } from './sigv4-canonical.ts'
import { checkClaim, mismatch, readClaim, SignatureError, unsignedPayload } from './sigv4-claim.ts'
import { pairsOf } from './url-headers.ts'

/** Who signed a request. */
export interface Signer {
  readonly caller: Caller
  readonly accessKeyId: string
  /** Hexadecimal SHA-256 that the body must turn out to have; null when it may be any, or was read to check the signature. */
  readonly bodyHash: string | null
}

export interface SignatureChecks {
  readonly control: Control
  readonly region: string
  readonly nowMs: number
  /** Reads the whole body; null when the client went away. Called for a request that does not state its hash. */
  readonly readBody: () => Promise<Buffer | null>
}

/** Who signed `request`; null when the client went away. Throws SignatureError, forbidden (not signed), and what `readBody` throws.
 *  Nothing here depends on whose URL was asked for. */
export async function signerOf(request: IncomingMessage, checks: SignatureChecks): Promise<Signer | null> {
  const { control, region, nowMs, readBody } = checks
  const head: SignableHead = {
    method: request.method ?? '',
    target: request.url ?? '',
    headers: pairsOf(request.rawHeaders),
  }
  const claim = readClaim(head)
  if (claim === null) throw new AppError('forbidden', 'The request carries no signature.')
  checkClaim(claim, { head, region, nowMs })
  const body = claim.payloadHash === null ? await readBody() : null
  if (claim.payloadHash === null && body === null) return null
  const { accessKeyId, date, timestamp, signature, signedHeaders } = claim
  const payloadHash = claim.payloadHash ?? hashOf(body ?? Buffer.alloc(0))
  const scope = `${date}/${claim.region}/${claim.service}/aws4_request`
  const hash = canonicalHash(head, { signedHeaders, payloadHash })
  const stringToSign = ['AWS4-HMAC-SHA256', timestamp, scope, hash].join('\n')
  const proof = { accessKeyId, date, region: claim.region, service: claim.service, stringToSign, signature }
  const caller = await control.authenticateSigned(proof)
  if (caller === 'wrong') throw mismatch()
  if (caller === 'unknown_key')
    throw new SignatureError('UnrecognizedClientException', 'The security token included in the request is invalid.')
  const isStated = claim.payloadHash !== null && claim.payloadHash !== unsignedPayload
  return { caller, accessKeyId, bodyHash: isStated ? payloadHash.toLowerCase() : null }
}

export function hashOf(body: Uint8Array): string {
  return createHash('sha256').update(body).digest('hex')
}
