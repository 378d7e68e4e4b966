import { HearthError } from './hearth-error.ts'

/** A body that leaves in one piece tells nothing of a platform that did not want it. */
const largeBytesMin = 64 * 1024
const endings = new Set(['EPIPE', 'ECONNRESET', 'UND_ERR_SOCKET'])

/** No answer came. Where the connection ended while a large `body` was on its way, the platform is there, and has most likely refused it. */
export function unreached(cause: unknown, { url, body }: { url: string; body: unknown }): HearthError {
  const inner = cause instanceof Error && cause.cause instanceof Error ? cause.cause : cause
  const code = inner instanceof Error && 'code' in inner ? String(inner.code) : ''
  const bytes = bytesOf(body)
  if (endings.has(code) && bytes >= largeBytesMin) {
    const size = bytes === Number.POSITIVE_INFINITY ? 'a stream' : `${(bytes / 1024 / 1024).toFixed(1)} MiB`
    const message = `The platform at ${url} ended the connection (${code}) while it was sent ${size}: most likely it refused that, as too large or with this key.`
    return new HearthError(0, { code: 'unreachable', field: 'body', message, retryable: false }, cause)
  }
  const reason = inner instanceof Error ? inner.message : String(inner)
  const message = `Cannot reach the platform at ${url}: ${code === 'ECONNREFUSED' ? 'nothing listens there' : reason}.`
  return new HearthError(0, { code: 'unreachable', message, retryable: true }, cause)
}

function bytesOf(body: unknown): number {
  if (typeof body === 'string') return body.length
  if (body instanceof Uint8Array) return body.length
  if (body instanceof Blob) return body.size
  return body instanceof ReadableStream ? Number.POSITIVE_INFINITY : 0
}
