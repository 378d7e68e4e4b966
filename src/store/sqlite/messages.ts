import { AppError, toAppError } from '../../domain/error.ts'
import type { AppErrorOptions, ErrorCode } from '../../domain/error.ts'
import type { OperationName } from './operations/index.ts'

/** What crosses the border between the caller's thread and the store's. Both sides send arrays: one message per turn of the loop. */
export interface Request {
  readonly id: number
  readonly name: OperationName
  /** The caller's clock. */
  readonly nowMs: number
  readonly args: readonly unknown[]
}

export type Reply =
  { readonly id: number; readonly result: unknown } | { readonly id: number; readonly error: PlainError }

export type ToWorker = { readonly kind: 'requests'; readonly requests: readonly Request[] } | { readonly kind: 'close' }

export type FromWorker =
  | { readonly kind: 'opened' }
  | { readonly kind: 'refused'; readonly error: PlainError }
  | { readonly kind: 'replies'; readonly replies: readonly Reply[] }

/** An AppError as plain data: classes do not survive a structured clone. */
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
