import type { ErrorBody } from '@hearth/sdk'
import type { AppError, ErrorCode } from '../domain/error.ts'

/** The one table from error codes to HTTP status. A `capacity` of the caller's own limit is told apart by invoke itself (429). */
export const statusOfCode: Readonly<Record<ErrorCode, number>> = {
  invalid: 400,
  unauthorized: 401,
  forbidden: 403,
  not_found: 404,
  conflict: 409,
  capacity: 503,
  timeout: 504,
  guest_failed: 502,
  driver_failed: 502,
  internal: 500,
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
