import { randomBytes } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'

const traceparentPattern = /^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/
const rootPattern = /^1-([0-9a-f]{8})-([0-9a-f]{24})$/i
const parentPattern = /^[0-9a-f]{16}$/i

/** The trace that a request says it belongs to, as W3C's traceparent; null when it names none. */
export function traceOf(headers: IncomingHttpHeaders): string | null {
  const { traceparent } = headers
  if (typeof traceparent === 'string' && traceparentPattern.test(traceparent)) return traceparent
  const fields = new Map<string, string>()
  for (const part of String(headers['x-amzn-trace-id'] ?? '').split(';')) {
    const [name = '', value = ''] = part.split('=', 2)
    fields.set(name.trim().toLowerCase(), value.trim())
  }
  const [, seconds, rest] = rootPattern.exec(fields.get('root') ?? '') ?? []
  if (seconds === undefined || rest === undefined) return null
  const parent = fields.get('parent') ?? ''
  const span = parentPattern.test(parent) ? parent : randomBytes(8).toString('hex')
  return `00-${seconds}${rest}-${span}-${fields.get('sampled') === '1' ? '01' : '00'}`.toLowerCase()
}

/** One of its own, with the time in it as AWS X-Ray wants it. */
export function freshTrace(nowMs: number): string {
  const seconds = Math.floor(nowMs / 1000)
    .toString(16)
    .padStart(8, '0')
  return `00-${seconds}${randomBytes(12).toString('hex')}-${randomBytes(8).toString('hex')}-00`
}

/** The trace of `traceparent` as AWS names it to functions: `Root=1-6b0ca7c1-18b3386a54f556f84ef380af`. */
export function amznRoot(traceparent: string): string {
  const [, trace = ''] = traceparent.split('-')
  return `Root=1-${trace.slice(0, 8)}-${trace.slice(8)}`
}
