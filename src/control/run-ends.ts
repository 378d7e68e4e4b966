import type { AttemptResult } from '../domain/agent.ts'
import type { CrashReason, Phase } from '../domain/invocation.ts'
import type { InvokeRequest, Overload, Rejection } from '../domain/control.ts'

/** How an Invocation ends that no Instance answered. */
export interface Unanswered {
  readonly outcome: 'expired' | 'rejected' | 'cancelled' | 'crashed'
  readonly errorType: string
  readonly message: string
  readonly rejection: Rejection | null
  readonly crashReason?: CrashReason | null
}

export const expired: Unanswered = {
  outcome: 'expired',
  errorType: 'Hearth.Expired',
  message: 'The deadline passed before the invocation could start.',
  rejection: null,
}

export function cancelled(reason: string): Unanswered {
  return { outcome: 'cancelled', errorType: 'Hearth.Cancelled', message: `Cancelled: ${reason}.`, rejection: null }
}

/** Its Version can never run. */
export function unprepared(version: number, reason: string): Unanswered {
  return {
    outcome: 'crashed',
    errorType: 'Hearth.VersionFailed',
    message: `Version ${version} cannot run: ${reason}`,
    rejection: null,
    crashReason: 'init_error',
  }
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

/** What a client is told that may come again, naming the limit that it met and what raises it. */
export function waitText(
  { resource, limit, retryAfterMs }: Overload,
  { caller: { project }, functionName }: Pick<InvokeRequest, 'caller' | 'functionName'>,
): string {
  const again = `try again in ${Math.ceil(retryAfterMs / 1000)} s`
  const full = `the queue of function "${functionName}" is full`
  switch (resource) {
    case 'project-concurrency':
      return `Project "${project}" runs its maximum of ${limit} invocations at a time (quota concurrencyMax) and ${full}: ${again}. An administrator raises it with "hearth project update ${project} --max-concurrency N".`
    case 'function-concurrency':
      return `Function "${functionName}" runs its maximum of ${limit} invocations at a time (concurrency) and its queue is full: ${again}. "hearth function update ${functionName} --concurrency N" raises it.`
    default:
      return `The node has no memory for another Instance and ${full}: ${again}.`
  }
}
