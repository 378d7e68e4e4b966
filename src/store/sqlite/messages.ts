import type { PlainError } from '../../domain/plain-error.ts'
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
