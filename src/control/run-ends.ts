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
  readonly heldBy?: Overload | null
}

/** `heldBy`: the limit that it waited for, if it has waited. */
export function expired(heldBy: Overload | null, request: Subject): Unanswered {
  const passed = 'The deadline passed before the invocation could start'
  const limit = heldBy === null ? null : limitText(heldBy, request)
  const message = limit === null ? `${passed}.` : `${passed}. ${limit.met}.${limit.raise}`
  return { outcome: 'expired', errorType: 'Hearth.Expired', message, rejection: null, heldBy }
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

type Subject = Pick<InvokeRequest, 'caller' | 'functionName'>

/** What a client is told that may come again, naming the limit that it met and what raises it. */
export function waitText(overload: Overload, request: Subject): string {
  const { met, raise } = limitText(overload, request)
  const again = `try again in ${Math.ceil(overload.retryAfterMs / 1000)} s`
  const queue = overload.resource === 'function-concurrency' ? 'its queue' : queueOf(request)
  return `${met} and ${queue} is full: ${again}.${raise}`
}

function queueOf({ functionName }: Subject): string {
  return `the queue of function "${functionName}"`
}

function limitText(
  { resource, limit }: Overload,
  { caller: { project }, functionName }: Subject,
): { readonly met: string; readonly raise: string } {
  switch (resource) {
    case 'project-concurrency':
      return {
        met: `Project "${project}" runs its maximum of ${limit} invocations at a time (quota concurrencyMax)`,
        raise: ` An administrator raises it with "hearth project update ${project} --max-concurrency N".`,
      }
    case 'function-concurrency':
      return {
        met: `Function "${functionName}" runs its maximum of ${limit} invocations at a time (concurrency)`,
        raise: ` "hearth function update ${functionName} --concurrency N" raises it.`,
      }
    default:
      return { met: 'The node has no memory for another Instance', raise: '' }
  }
}
