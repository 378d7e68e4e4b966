/** The closed set of failures the platform itself can report. User code that throws is a result, not an AppError. */
export const errorCodes = [
  'invalid',
  'unauthorized',
  'forbidden',
  'not_found',
  'conflict',
  'capacity',
  'timeout',
  'guest_failed',
  'driver_failed',
  'internal',
] as const
export type ErrorCode = (typeof errorCodes)[number]

export interface AppErrorOptions {
  /** For the operator: never shown to a caller. */
  detail?: string
  /** Set where the error is born: whether the same call may succeed later without a change. */
  retryable?: boolean
  /** The offending input field, its value and what is allowed; only for `invalid`. */
  field?: string
  value?: unknown
  allowed?: string
  /** When a retry may succeed; only for `capacity`. */
  retryAfterMs?: number
  cause?: unknown
}

/** A failure with one code, a message for the user and a detail for the operator.
 *  Mapped once to HTTP status (`http/errors.ts`), CLI exit code (`cli/exit-codes.ts`) and console wording. */
export class AppError extends Error {
  override readonly name = 'AppError'
  readonly code: ErrorCode
  readonly detail: string | undefined
  readonly retryable: boolean
  readonly field: string | undefined
  readonly value: unknown
  readonly allowed: string | undefined
  readonly retryAfterMs: number | undefined

  constructor(code: ErrorCode, message: string, options: AppErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.detail = options.detail
    this.retryable = options.retryable ?? (code === 'capacity' || code === 'timeout')
    this.field = options.field
    this.value = options.value
    this.allowed = options.allowed
    this.retryAfterMs = options.retryAfterMs
  }
}

/** An `invalid` error that names the field, the value and what would be accepted. */
export function invalid(field: string, value: unknown, allowed: string, message?: string): AppError {
  return new AppError('invalid', message ?? `Invalid ${field} ${quote(value)}: must be ${allowed}.`, {
    field,
    value,
    allowed,
  })
}

/** The error as an AppError: passes one through, wraps anything else as `internal` so that nothing leaks to a caller. */
export function toAppError(error: unknown): AppError {
  if (error instanceof AppError) return error
  const detail = error instanceof Error ? (error.stack ?? error.message) : String(error)
  return new AppError('internal', 'Internal error. The operator finds the cause in the platform log.', {
    detail,
    cause: error,
  })
}

function quote(value: unknown): string {
  const text = typeof value === 'string' ? JSON.stringify(value) : (JSON.stringify(value) ?? typeof value)
  return text.length > 120 ? `${text.slice(0, 117)}...` : text
}
