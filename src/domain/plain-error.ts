import { AppError, toAppError } from './error.ts'
import type { AppErrorOptions, ErrorCode } from './error.ts'

/** An AppError as plain data: classes do not survive the way to another thread or process. */
export interface PlainError {
  readonly code: ErrorCode
  readonly message: string
  readonly options: AppErrorOptions
}

export function toPlainError(thrown: unknown): PlainError {
  const error = toAppError(thrown)
  const { detail, retryable, field, value, allowed, retryAfterMs } = error
  return {
    code: error.code,
    message: error.message,
    options: {
      retryable,
      ...(detail !== undefined && { detail }),
      ...(field !== undefined && { field }),
      ...(value !== undefined && { value }),
      ...(allowed !== undefined && { allowed }),
      ...(retryAfterMs !== undefined && { retryAfterMs }),
    },
  }
}

export function fromPlainError({ code, message, options }: PlainError): AppError {
  return new AppError(code, message, options)
}
