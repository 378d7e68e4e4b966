import type { HttpRequestHead } from '../domain/agent.ts'
import { AppError } from '../domain/error.ts'
import type { FunctionError } from '../domain/invocation.ts'
import type { Contract } from '../domain/runtime.ts'
import { bad, number, object, string } from './fields.ts'
import { payloadBytesMax } from './frame.ts'

export const helloRoles = ['runtime', 'supervisor', 'init'] as const
export type HelloRole = (typeof helloRoles)[number]

export interface Hello {
  readonly protocol: 1
  readonly role: HelloRole
  readonly epoch: string
  readonly runtime: string
  readonly version: string
  readonly pid: number
  /** After RESUME: what an earlier host began still runs. */
  readonly isBusy: boolean
}

export interface ConfigureMessage {
  readonly instance: string
  readonly nowMs: number
  readonly logBytesPerSecond: number
}

/** Everything a runtime learns of the Version it will serve. `env` holds configuration and secrets together: never log it. */
export interface BindMessage {
  readonly function: string
  readonly version: string
  readonly project: string
  readonly handler: string
  readonly memoryMib: number
  readonly timeoutMs: number
  readonly env: Readonly<Record<string, string>>
  readonly taskRoot: string
  readonly cacheRoot: string | null
  readonly apiUrl: string
  readonly region: string
  readonly accountId: string
  readonly logGroup: string
  readonly logStream: string
  readonly purpose: 'serve' | 'compile'
  /** The next three are the bridge's: docs/reference/guest-protocol.md, "The bridge". */
  readonly contract: Contract
  readonly command: readonly string[]
  readonly port: number
}

export interface InvokeMessage {
  readonly id: string
  /** Epoch ms. */
  readonly deadlineMs: number
  readonly contentType: string
  readonly traceparent: string | null
  /** `identity`: answers with randomness, clock and names drawn anew, which must differ between two clones of a snapshot. */
  readonly kind: 'invoke' | 'compile' | 'identity'
  /** A whole HTTP request, for a Version with contract `http`; its body is the stream's DATA. */
  readonly http?: HttpRequestHead
}

export interface Head {
  readonly status: number
  readonly headers: [string, string][]
}

const headerName = /^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}$/
// eslint-disable-next-line no-control-regex
const headerValue = /^[\t\x20-\x7e\x80-\xff]{0,8192}$/
const headersMax = 256
const stackLinesMax = 256

/** BIND as text; throws invalid when it does not fit one frame, which only an environment full of escapes can reach. */
export function bindText(message: BindMessage): string {
  const text = JSON.stringify(message)
  const bytes = Buffer.byteLength(text)
  if (bytes <= payloadBytesMax) return text
  throw new AppError(
    'invalid',
    `Cannot start ${message.function}: its environment and secrets take ${bytes} bytes as JSON, at most ${payloadBytesMax} fit.`,
    { field: 'env', allowed: `${payloadBytesMax} bytes as JSON` },
  )
}

/* Parsers of what a guest says. Every string and list has a bound, fields that are not asked for are ignored,
 * anything else is a WireError `json`. */

export function parseHello(payload: Buffer): Hello {
  const fields = object('HELLO', payload)
  if (fields['protocol'] !== 1) throw bad('HELLO', 'protocol must be 1')
  const role = helloRoles.find((known) => known === fields['role'])
  if (role === undefined) throw bad('HELLO', `role must be one of ${helloRoles.join(', ')}`)
  return {
    protocol: 1,
    role,
    epoch: string('HELLO', fields, 'epoch', 128),
    runtime: string('HELLO', fields, 'runtime', 64),
    version: string('HELLO', fields, 'version', 64),
    pid: number('HELLO', fields, 'pid'),
    isBusy: fields['isBusy'] === true,
  }
}

export function parseReady(payload: Buffer): { loadMs: number } {
  return { loadMs: number('READY', object('READY', payload), 'loadMs') }
}

export function parseHead(payload: Buffer): Head {
  const fields = object('HEAD', payload)
  const status = number('HEAD', fields, 'status')
  if (!Number.isInteger(status) || status < 100 || status > 999) throw bad('HEAD', 'status must be 100 to 999')
  const headers = fields['headers']
  if (!Array.isArray(headers) || headers.length > headersMax) throw bad('HEAD', `headers must be a list of at most 256`)
  return { status, headers: headers.map(headerPair) }
}

export function parseFail(payload: Buffer): FunctionError & { phase: string } {
  const fields = object('FAIL', payload)
  const stackTrace: unknown = fields['stackTrace'] ?? []
  if (!Array.isArray(stackTrace) || stackTrace.length > stackLinesMax)
    throw bad('FAIL', `stackTrace must be a list of at most ${stackLinesMax}`)
  if (!stackTrace.every((line): line is string => typeof line === 'string'))
    throw bad('FAIL', 'stackTrace must hold strings')
  return {
    errorType: string('FAIL', fields, 'errorType', 256),
    errorMessage: string('FAIL', fields, 'errorMessage', payloadBytesMax),
    stackTrace,
    phase: fields['phase'] === undefined ? '' : string('FAIL', fields, 'phase', 64),
  }
}

export function parseOpen(payload: Buffer): { service: string } {
  return { service: string('OPEN', object('OPEN', payload), 'service', 64) }
}

function headerPair(pair: unknown): [string, string] {
  if (!Array.isArray(pair) || pair.length !== 2) throw bad('HEAD', 'each header must be [name, value]')
  const name: unknown = pair[0]
  const value: unknown = pair[1]
  if (typeof name !== 'string' || !headerName.test(name)) throw bad('HEAD', 'a header has no valid name')
  if (typeof value !== 'string' || !headerValue.test(value)) throw bad('HEAD', `header ${name} has no valid value`)
  return [name, value]
}
