import type { AttemptResult } from '../domain/agent.ts'
import type { CrashReason } from '../domain/invocation.ts'
import type { Rejection } from './admission.ts'

/** How an Invocation ends that no Instance answered. */
export interface Unanswered {
  readonly outcome: 'expired' | 'rejected' | 'cancelled' | 'crashed'
  readonly errorType: string
  readonly message: string
  readonly rejection: Rejection | null
  readonly crashReason?: CrashReason | null
}

/** The result of an attempt that answered more than anybody takes. */
export function tooLarge(result: AttemptResult, bytesMax: number): AttemptResult {
  const errorMessage = `Response payload size exceeded ${bytesMax} bytes.`
  const error = { errorType: 'Function.ResponseSizeTooLarge', errorMessage, stackTrace: [] }
  return { ...result, outcome: 'failed', error, crashReason: null }
}
