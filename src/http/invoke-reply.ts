import type { InvokeReply, Overload, Rejection, ReplyStart } from '../domain/control.ts'
import type { ErrorCode } from '../domain/error.ts'
import { startFailedType, type Outcome } from '../domain/invocation.ts'

/** docs/reference/contracts.md, "Invoke": outcome to status. */
const statusOfOutcome: Readonly<Record<Outcome, number>> = {
  succeeded: 200,
  failed: 200,
  timed_out: 504,
  cancelled: 499,
  crashed: 502,
  rejected: 503,
  expired: 503,
}

const statusOfRejection: Readonly<Record<Rejection['kind'], number>> = { own_limit: 429, capacity: 503, gone: 404 }

export const responseTooLarge = 'Function.ResponseSizeTooLarge'

/** Headers a function may not set: they belong to the connection, to Hearth, or to the origin that the API shares. */
const ownHeaders = new Set([
  'connection',
  'keep-alive',
  'transfer-encoding',
  'content-length',
  'upgrade',
  'trailer',
  'te',
  'date',
  'server-timing',
  'set-cookie',
  'retry-after',
  'clear-site-data',
  'strict-transport-security',
  'service-worker-allowed',
  'www-authenticate',
])

export function replyStatus(reply: InvokeReply): number {
  if (reply.rejection !== null) return statusOfRejection[reply.rejection.kind]
  if (reply.error?.errorType === responseTooLarge) return 502
  return ownStatus(reply) ?? statusOfOutcome[reply.outcome]
}

/** The function's own status, where it is one that can end an exchange. */
export function ownStatus({ head }: Pick<InvokeReply, 'head'>): number | null {
  return head !== null && head.status >= 200 && head.status <= 599 ? head.status : null
}

/** Headers of a reply that is passed on as it comes: how it ends is in its trailers. */
export function streamHeaders(start: ReplyStart): string[] {
  const headers = [
    'Hearth-Invocation-Id',
    start.invocationId,
    'Hearth-Version',
    String(start.version),
    'Server-Timing',
    serverTiming(start),
  ]
  if (start.start !== null) headers.push('Hearth-Start', startText(start))
  pushOwnHeaders(headers, start)
  return headers
}

export const streamTrailers = 'Hearth-Outcome, Hearth-Effect, Hearth-Function-Error, Server-Timing'

/** How a reply ended whose status had gone out before. */
export function trailersOf(reply: InvokeReply): [string, string][] {
  const { outcome, effect, error } = reply
  return [
    ['Hearth-Outcome', outcome],
    ['Hearth-Effect', effect],
    ...(error === null ? [] : [['Hearth-Function-Error', headerText(error.errorType)] as [string, string]]),
    ['Server-Timing', serverTiming(reply)],
  ]
}

/** Name, value, name, value: the form node:http writes without making an object of it. */
export function replyHeaders(reply: InvokeReply, { status, bytes }: { status: number; bytes: number }): string[] {
  const headers = [
    'Hearth-Invocation-Id',
    reply.invocationId,
    'Hearth-Outcome',
    reply.outcome,
    'Hearth-Effect',
    reply.effect,
    'Hearth-Version',
    String(reply.version),
    'Server-Timing',
    serverTiming(reply),
  ]
  // These two have no body: a length would make the client wait for one.
  if (status !== 204 && status !== 304) headers.push('Content-Length', String(bytes))
  if (reply.start !== null) headers.push('Hearth-Start', startText(reply))
  if (reply.outcome === 'failed' && reply.error !== null)
    headers.push('Hearth-Function-Error', headerText(reply.error.errorType))
  const overload = overloadOf(reply)
  if (overload !== null)
    headers.push(
      'Retry-After',
      String(Math.max(1, Math.ceil(overload.retryAfterMs / 1000))),
      'Hearth-Overload',
      `${overload.resource};${overload.cause}`,
    )
  if (reply.logTail !== null) headers.push('Hearth-Log-Result', Buffer.from(reply.logTail).toString('base64'))
  pushOwnHeaders(headers, reply)
  return headers
}

/** The limit that it was refused by, or waited for in vain. */
export function overloadOf({ rejection, heldBy = null }: Pick<InvokeReply, 'rejection' | 'heldBy'>): Overload | null {
  if (rejection === null) return heldBy
  return rejection.kind === 'gone' ? null : rejection
}

function startText({ start, coldCause }: Pick<InvokeReply, 'start' | 'coldCause'>): string {
  return start === 'warm' ? 'warm' : `cold;source=${start ?? 'boot'};cause=${coldCause ?? 'first'}`
}

/** What the function set itself, as far as it may, and a type in any case. */
function pushOwnHeaders(headers: string[], { head }: Pick<InvokeReply, 'head'>): void {
  let hasType = false
  for (const [name, value] of head?.headers ?? []) {
    const lower = name.toLowerCase()
    if (ownHeaders.has(lower) || lower.startsWith('hearth-')) continue
    hasType ||= lower === 'content-type'
    headers.push(name, value)
  }
  if (!hasType) headers.push('Content-Type', 'application/json')
}

/** What outcomes that are neither a result nor the function's own error look like to a client that knows error codes only. */
const codeOfOutcome: Readonly<Record<Exclude<Outcome, 'succeeded' | 'failed'>, ErrorCode>> = {
  timed_out: 'timeout',
  expired: 'timeout',
  rejected: 'capacity',
  cancelled: 'guest_failed',
  crashed: 'guest_failed',
}

/** Body of any outcome but `succeeded`: the function's error in Lambda's form; beside it ours, where it was not the function's doing. */
export function failureBody(reply: InvokeReply): unknown {
  const { outcome, effect, error, invocationId, rejection } = reply
  const own = {
    errorType: error?.errorType ?? outcome,
    errorMessage: error?.errorMessage ?? outcome,
    stackTrace: error?.stackTrace ?? [],
  }
  if (outcome === 'succeeded' || outcome === 'failed') return own
  const isGone = rejection?.kind === 'gone'
  const code = isGone ? 'not_found' : codeOfOutcome[outcome]
  const retryable = effect === 'never_started' && !isGone && !isOfCode(reply)
  return {
    error: { code, message: own.errorMessage, retryable, invocationId },
    ...own,
  }
}

/** Code that does not load fails the same way until it is changed. */
function isOfCode({ crashReason, error }: InvokeReply): boolean {
  return crashReason === 'init_error' && error?.errorType !== startFailedType
}

function serverTiming({ phases }: Pick<InvokeReply, 'phases'>): string {
  let text = ''
  for (const { phase, durationMs } of phases)
    text += `${text === '' ? '' : ', '}${phase};dur=${Math.round(durationMs * 1000) / 1000}`
  return text
}

/** Error types are user code's: what a header cannot carry is replaced. */
function headerText(text: string): string {
  return text.replaceAll(/[^\x20-\x7e]/g, '?').slice(0, 256)
}
