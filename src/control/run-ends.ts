import type { AttemptResult } from '../domain/agent.ts'
import type { CrashReason, Phase } from '../domain/invocation.ts'
import type { Rejection } from '../domain/control.ts'

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

/** A wait shorter than this is the price of the clock. */
const queueMsMin = 0.05

/** The control's own phases, then `own`. Monotonic ms; 0 = not come to that yet. */
export function phasesBefore(
  at: { acceptedMs: number; queuedMs: number; admittedMs: number; nowMs: number },
  own: readonly Phase[],
): readonly Phase[] {
  const { acceptedMs, queuedMs, admittedMs, nowMs } = at
  const admitMs = (queuedMs > 0 ? queuedMs : nowMs) - acceptedMs
  const phases: Phase[] = [{ phase: 'admit', startMs: 0, durationMs: admitMs, source: 'none', bytes: 0 }]
  const waitedMs = queuedMs > 0 ? (admittedMs > 0 ? admittedMs : nowMs) - queuedMs : 0
  if (waitedMs >= queueMsMin)
    phases.push({ phase: 'queue', startMs: admitMs, durationMs: waitedMs, source: 'none', bytes: 0 })
  for (const phase of own) phases.push(phase)
  return phases
}

/** What a client is told that may come again. */
export function waitText({ kind, retryAfterMs }: Rejection): string {
  const what =
    kind === 'own_limit'
      ? 'All slots are in use and the queue is full'
      : 'The node has no memory for another Instance and the queue is full'
  return `${what}: try again in ${Math.ceil((retryAfterMs ?? 0) / 1000)} s.`
}
