import type { InvokeResult } from '@hearth/sdk'

/** How an invocation ended, for `--json`: everything but its result. */
export function invokeJson(reply: Omit<InvokeResult, 'body'>, roundTripMs: number): Record<string, unknown> {
  const { status, outcome, effect, invocationId, version, start, functionError, logTail, headers } = reply
  const contentType = typeOf(headers)
  return {
    invocationId,
    outcome,
    effect,
    version,
    start,
    functionError,
    status,
    roundTripMs,
    contentType,
    logTail,
  }
}

/** JSON as a value, text as a string, anything else as base64. */
export function bodyValue(body: Buffer, headers: Headers): unknown {
  const text = body.toString()
  if (typeOf(headers).includes('json')) {
    try {
      return JSON.parse(text)
    } catch {
      return text
    }
  }
  return Buffer.from(text).equals(body) ? text : { base64: body.toString('base64') }
}

function typeOf(headers: Headers): string {
  return headers.get('content-type') ?? ''
}
