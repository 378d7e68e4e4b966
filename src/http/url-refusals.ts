import type { InvokeReply } from '../domain/control.ts'
import { toAppError, type AppError } from '../domain/error.ts'
import { isServer, type Contract } from '../domain/runtime.ts'
import { HttpRefusal } from './errors.ts'
import { overloadOf } from './invoke-reply.ts'
import { SignatureError } from './sigv4-claim.ts'
import type { HeaderList } from './url-headers.ts'

export interface Refusal {
  readonly status: number
  readonly headers: HeaderList
  readonly body: Uint8Array
}

/** Answers that no function gave, in the words of AWS's function URLs. Where there is none the answer is `forbidden` too: nobody learns which functions exist. */
export const refusals = {
  forbidden: say(403, { Message: 'Forbidden' }, [['x-amzn-ErrorType', 'AccessDeniedException']]),
  unauthorized: say(401, { Message: 'A key is needed: send "Authorization: Bearer hth_<id>_<secret>".' }, [
    ['www-authenticate', 'Bearer realm="hearth"'],
  ]),
  busy: say(503, { Message: 'Service Unavailable' }, [['retry-after', '1']]),
  malformed: say(400, { Message: 'Bad Request' }),
  tooLarge: say(413, { Message: 'Request Entity Too Large' }),
  badGateway: text(502, 'Internal Server Error'),
  internal: text(500, 'Internal Server Error'),
  closing: say(503, { Message: 'Service Unavailable' }, [
    ['retry-after', '1'],
    ['connection', 'close'],
  ]),
} as const

/** What a client is told where no invocation was made. `onInternal`: it is no fault of the client's. */
export function refusalFor(thrown: unknown, onInternal: (error: AppError) => void): Refusal {
  if (thrown instanceof SignatureError) return refusalOf(thrown)
  if (thrown instanceof HttpRefusal && thrown.status === 413) return refusals.tooLarge
  const error = toAppError(thrown)
  if (error.code === 'not_found' || error.code === 'forbidden') return refusals.forbidden
  if (error.code === 'unauthorized') return refusals.unauthorized
  if (error.code === 'capacity') return refusals.busy
  onInternal(error)
  return refusals.internal
}

/** What a client is told that has not proved who it is: AWS writes `message` small here. */
export function refusalOf({ type, message }: SignatureError): Refusal {
  return say(403, { message }, [['x-amzn-ErrorType', type]])
}

/** What the client of an invocation that did not succeed is told. */
export function failureOf(reply: InvokeReply, contract: Contract): Refusal {
  const { outcome, rejection } = reply
  if (outcome === 'cancelled') return text(499, 'Client Closed Request')
  if (outcome === 'rejected' || outcome === 'expired') {
    if (rejection?.kind === 'gone') return refusals.forbidden
    const overload = overloadOf(reply)
    const retry: HeaderList =
      overload === null ? [] : [['retry-after', String(Math.max(1, Math.ceil(overload.retryAfterMs / 1000)))]]
    if (rejection?.kind === 'own_limit') return say(429, { Message: 'Too Many Requests' }, retry)
    return say(503, { Message: 'Service Unavailable' }, retry)
  }
  // AWS does not tell a handler's timeout from its error.
  return outcome === 'timed_out' && isServer(contract) ? text(504, 'Gateway Timeout') : refusals.badGateway
}

function say(status: number, body: unknown, headers: HeaderList = []): Refusal {
  return {
    status,
    headers: [['content-type', 'application/json'], ...headers],
    body: Buffer.from(JSON.stringify(body)),
  }
}

function text(status: number, body: string): Refusal {
  return { status, headers: [['content-type', 'text/plain']], body: Buffer.from(body) }
}
