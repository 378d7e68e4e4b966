import type { IncomingHttpHeaders } from 'node:http'
import type { Caller, InvokeRequest, ReplySink } from '../domain/control.ts'
import { AppError, invalid } from '../domain/error.ts'
import { limits } from '../domain/limits.ts'
import { HttpRefusal } from './errors.ts'

/** A JSON body up to this size is checked here (about 1 ms); a larger one is left to the runtime, so that it cannot stall everybody else's calls. */
const jsonCheckBytesMax = 256 * 1024
const priorityDefault = 3
const streamedLog = 'A streamed reply has no place for the log: leave Hearth-Log out, or read the log afterwards.'
const traceparentPattern = /^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/

export interface InvokeParts {
  readonly caller: Caller
  readonly target: { readonly name: string; readonly qualifier: string | null }
  readonly payload: Buffer
  /** Nothing was sent: `payload` is `{}`. */
  readonly isEmpty: boolean
  readonly nowMs: () => number
  /** Takes the reply of a caller who asks for it as it comes. */
  readonly sink: ReplySink
}

/** What the caller asks for. Throws invalid, naming the header or the body. Headers: docs/reference/contracts.md. */
export function parseInvoke(headers: IncomingHttpHeaders, parts: InvokeParts): InvokeRequest {
  refuseLaterHeaders(headers)
  refuseEncoded(headers)
  const { payload, isEmpty } = parts
  const contentType = isEmpty ? 'application/json' : (headers['content-type'] ?? 'application/json')
  if (!isEmpty && payload.length <= jsonCheckBytesMax && isJson(contentType)) checkJson(payload)
  const log = headers['hearth-log']
  if (log !== undefined && log !== 'tail' && log !== 'none') throw invalid('Hearth-Log', log, '"tail" or "none"')
  const stream = headers['hearth-stream']
  if (stream !== undefined && stream !== 'true' && stream !== 'false')
    throw invalid('Hearth-Stream', stream, '"true" or "false"')
  if (stream === 'true' && log === 'tail')
    throw invalid('Hearth-Log', log, 'left out with Hearth-Stream: true', streamedLog)
  const traceparent = headers['traceparent']
  return {
    caller: parts.caller,
    functionName: parts.target.name,
    qualifier: parts.target.qualifier,
    contentType,
    payload,
    deadline: deadlineOf(headers['hearth-deadline-ms'], headers['hearth-timeout-ms'], parts.nowMs),
    priority: wholeNumber('Hearth-Priority', headers['hearth-priority'], { min: 0, max: 5 }) ?? priorityDefault,
    traceparent: typeof traceparent === 'string' && traceparentPattern.test(traceparent) ? traceparent : null,
    wantLogTail: log === 'tail',
    ...(stream === 'true' && { sink: parts.sink }),
  }
}

/** Headers of the contract that this release cannot honour: ignoring them would promise what is not kept. */
function refuseLaterHeaders(headers: IncomingHttpHeaders): void {
  const key = headers['idempotency-key']
  if (key !== undefined)
    throw invalid('Idempotency-Key', key, 'left out', 'Idempotency-Key is not supported yet: leave the header out.')
  const { prefer } = headers
  if (prefer !== undefined && /respond-async/i.test(String(prefer)))
    throw invalid('Prefer', prefer, 'left out', 'Prefer: respond-async is not supported yet: leave the header out.')
}

/** A function would get compressed bytes without a word of it. */
function refuseEncoded({ 'content-encoding': encoding }: IncomingHttpHeaders): void {
  if (encoding === undefined || encoding === '' || encoding.toLowerCase() === 'identity') return
  const text = `Invalid Content-Encoding ${JSON.stringify(encoding)}: the body is handed over as it came, so send it uncompressed and leave the header out.`
  throw new HttpRefusal(415, text, { field: 'Content-Encoding', value: encoding, allowed: 'left out' })
}

function deadlineOf(
  absolute: string | string[] | undefined,
  relative: string | string[] | undefined,
  nowMs: () => number,
): number | null {
  if (absolute === undefined && relative === undefined) return null
  const at = wholeNumber('Hearth-Deadline-Ms', absolute, { min: 0, max: Number.MAX_SAFE_INTEGER })
  const within = wholeNumber('Hearth-Timeout-Ms', relative, { min: 0, max: limits.timeoutMs.max })
  return Math.min(at ?? Infinity, within === null ? Infinity : nowMs() + within)
}

function wholeNumber(
  header: string,
  text: string | string[] | undefined,
  { min, max }: { min: number; max: number },
): number | null {
  if (text === undefined) return null
  const value = typeof text === 'string' && /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN
  if (!(value >= min && value <= max)) throw invalid(header, text, `a whole number from ${min} to ${max}`)
  return value
}

function isJson(contentType: string): boolean {
  return contentType === 'application/json' || /^application\/json\s*(?:;|$)/i.test(contentType)
}

function checkJson(payload: Buffer): void {
  try {
    JSON.parse(payload.toString('utf8'))
  } catch (error) {
    throw new AppError('invalid', `The body is not JSON: ${error instanceof Error ? error.message : String(error)}.`, {
      field: 'body',
      allowed: 'JSON, or another Content-Type for raw bytes',
    })
  }
}
