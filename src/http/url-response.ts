import { endToEnd, type HeaderList } from './url-headers.ts'

export interface UrlResponse {
  readonly status: number
  readonly headers: HeaderList
  readonly body: Uint8Array
}

const json: [string, string] = ['content-type', 'application/json']

/** The HTTP response that the result of a handler means by AWS's payload format 2.0; null for an invalid one. */
export function urlResponse(result: Uint8Array): UrlResponse | null {
  const text = Buffer.from(result.buffer, result.byteOffset, result.length).toString('utf8')
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return null
  }
  if (typeof value === 'string') return { status: 200, headers: [json], body: Buffer.from(value) }
  if (!isObject(value) || value['statusCode'] === undefined || value['statusCode'] === null)
    return { status: 200, headers: [json], body: Buffer.from(JSON.stringify(value)) }
  const status = statusOf(value['statusCode'])
  const headers = headersOf(value)
  const body = bodyOf(value)
  return status === null || headers === null || body === null ? null : { status, headers, body }
}

function statusOf(value: unknown): number | null {
  const status = typeof value === 'string' && /^\d{3}$/.test(value) ? Number(value) : value
  return typeof status === 'number' && Number.isInteger(status) && status >= 200 && status <= 599 ? status : null
}

function headersOf({ headers = {}, cookies = [] }: Record<string, unknown>): HeaderList | null {
  if (!isObject(headers ?? {}) || !Array.isArray(cookies ?? [])) return null
  const pairs: HeaderList = []
  for (const [name, value] of Object.entries(headers ?? {})) {
    if (!['string', 'number', 'boolean'].includes(typeof value)) return null
    if (name.toLowerCase() !== 'content-length') pairs.push([name, String(value)])
  }
  if (!pairs.some(([name]) => name.toLowerCase() === 'content-type')) pairs.push(json)
  for (const cookie of (cookies ?? []) as unknown[]) {
    if (typeof cookie !== 'string') return null
    pairs.push(['set-cookie', cookie])
  }
  return endToEnd(pairs)
}

function bodyOf({ body = '', isBase64Encoded = false }: Record<string, unknown>): Buffer | null {
  if (body === null) return Buffer.alloc(0)
  return typeof body === 'string' ? Buffer.from(body, isBase64Encoded === true ? 'base64' : 'utf8') : null
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
