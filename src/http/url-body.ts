import type { IncomingMessage } from 'node:http'
import { Readable, type Duplex } from 'node:stream'
import { BodySource } from './body-source.ts'
import { mismatch } from './sigv4-claim.ts'
import { hashOf } from './url-signature.ts'

interface ProxiedBody {
  readonly upgrade: Duplex | null
  /** Read whole to check its signature: it goes on from memory. */
  readonly body: Buffer | null
  /** Hexadecimal SHA-256 that the signer stated for it. */
  readonly hash: string | null
  readonly bytesMax: number
  readonly onTooLong: () => void
  readonly onWrongHash: () => void
}

const sliceBytes = 64 * 1024

/** What a client sends for a function that is an HTTP server itself, as it comes; null when that is nothing. Throws SignatureError. */
export function proxiedBody(request: IncomingMessage, parts: ProxiedBody): BodySource | null {
  const { upgrade, body, hash, ...bounds } = parts
  const { headers } = request
  const hasBody = headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0
  if (!hasBody && hash !== null && hash !== hashOf(new Uint8Array(0))) throw mismatch()
  if (upgrade !== null) return new BodySource(upgrade, { ...bounds, bytesMax: Infinity })
  if (!hasBody) return null
  return new BodySource(body === null ? request : Readable.from(slicesOf(body)), { ...bounds, hash })
}

function* slicesOf(bytes: Buffer): Generator<Buffer> {
  for (let at = 0; at < bytes.length; at += sliceBytes) yield bytes.subarray(at, at + sliceBytes)
}
