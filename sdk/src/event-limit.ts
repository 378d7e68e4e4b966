import { HearthError } from './hearth-error.ts'

/** Of the platform's events, `limits.payloadBytesMax`. */
const eventBytesMax = 6 * 1024 * 1024

/** Throws HearthError, in the platform's words: it ends the connection of what is larger, and whether its answer is seen before that is luck. */
export function demandEvent(event: Uint8Array | string): void {
  if (Buffer.byteLength(event) <= eventBytesMax) return
  const message = `The request is larger than ${eventBytesMax} bytes.`
  const allowed = `at most ${eventBytesMax} bytes`
  throw new HearthError(413, { code: 'invalid', retryable: false, field: 'body', allowed, message })
}
