import { statusOfCode, type ErrorBody } from '@hearth/sdk'
import type { IncomingMessage } from 'node:http'
import { AppError, type AppErrorOptions, type ErrorCode } from '../domain/error.ts'

/** A `capacity` of the caller's own limit is told apart by invoke itself (429). */
const statuses: Readonly<Record<ErrorCode, number>> = statusOfCode

/** An `invalid` request for which HTTP has a narrower status: 405, 413, 415. */
export class HttpRefusal extends AppError {
  readonly status: number

  constructor(status: number, message: string, options: AppErrorOptions = {}) {
    super('invalid', message, options)
    this.status = status
  }
}

export function statusOf(error: AppError): number {
  return error instanceof HttpRefusal ? error.status : statuses[error.code]
}

/** What a caller is told of an error; `detail` and `cause` stay with the operator. */
export function errorBody(error: AppError, invocationId?: string): { error: ErrorBody } {
  const { code, message, field, value, allowed, retryable } = error
  return {
    error: {
      code,
      message,
      ...(field !== undefined && { field }),
      ...(value !== undefined && { value }),
      ...(allowed !== undefined && { allowed }),
      retryable,
      ...(invocationId !== undefined && { invocationId }),
    },
  }
}

/** Headers that go with an error. */
export function errorHeaders(error: AppError): Record<string, string> {
  return {
    ...(error.code === 'unauthorized' && { 'www-authenticate': 'Bearer realm="hearth"' }),
    ...(error.retryAfterMs !== undefined && {
      'retry-after': String(Math.max(1, Math.ceil(error.retryAfterMs / 1000))),
    }),
  }
}

/** What is left of a refused request's body is read and dropped when it is no more than this, and the connection goes on: closing it under a client
 *  that still sends would reset it before the answer is read. */
const leftBytesMax = 16 * 1024 * 1024
/** The same of a client with a key: code and images are large, and many clients read no answer before all is sent. */
export const keyedLeftBytesMax = 256 * 1024 * 1024
/** A longer one is dropped for this long, so that the client reads the answer before it finds the connection closed. */
const lingerMs = 2_000

/** Sees to the body of a request that is refused unread; false when the connection must close after the answer. */
export function leaveBody(request: IncomingMessage, bytesMax = leftBytesMax): boolean {
  request.removeAllListeners('data')
  request.resume()
  const { 'content-length': length, 'transfer-encoding': encoding } = request.headers
  if (request.complete || (encoding === undefined && Number(length ?? 0) <= bytesMax)) return true
  const timer = setTimeout(() => request.socket.destroy(), lingerMs)
  timer.unref()
  request.once('close', () => clearTimeout(timer))
  return false
}
