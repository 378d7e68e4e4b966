import { validateHeaderName, validateHeaderValue } from 'node:http'
import { endToEnd, type HeaderList } from './url-headers.ts'

export interface UrlResponse {
  readonly status: number
  readonly headers: HeaderList
  readonly body: Uint8Array
}

const json: [string, string] = ['content-type', 'application/json']

/** The HTTP response that the result of a handler means by AWS's payload format 2.0; a text says why it means none, as a sentence's end. */
export function urlResponse(result: Uint8Array): UrlResponse | string {
  const text = Buffer.from(result.buffer, result.byteOffset, result.length).toString('utf8')
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return 'it is no JSON'
  }
  if (typeof value === 'string') return { status: 200, headers: [json], body: Buffer.from(value) }
  if (!isObject(value) || value['statusCode'] === undefined || value['statusCode'] === null)
    return { status: 200, headers: [json], body: Buffer.from(JSON.stringify(value)) }
  const status = statusOf(value['statusCode'])
  if (status === null) return `statusCode ${shown(value['statusCode'])} is no whole number from 200 to 599`
  const headers = headersOf(value)
  if (typeof headers === 'string') return headers
  const { body = '', isBase64Encoded = false } = value
  if (body !== null && typeof body !== 'string') return `body is ${kindOf(body)} and must be a text: JSON.stringify it`
  return { status, headers, body: Buffer.from(body ?? '', isBase64Encoded === true ? 'base64' : 'utf8') }
}

function statusOf(value: unknown): number | null {
  const status = typeof value === 'string' && /^\d{3}$/.test(value) ? Number(value) : value
  return typeof status === 'number' && Number.isInteger(status) && status >= 200 && status <= 599 ? status : null
}

function headersOf({ headers = {}, cookies = [] }: Record<string, unknown>): HeaderList | string {
  if (!isObject(headers ?? {})) return `headers is ${kindOf(headers)} and must be an object`
  if (!Array.isArray(cookies ?? [])) return `cookies is ${kindOf(cookies)} and must be a list of texts`
  const pairs: HeaderList = []
  for (const [name, value] of Object.entries(headers ?? {})) {
    if (!['string', 'number', 'boolean'].includes(typeof value))
      return `headers[${shown(name)}] is ${kindOf(value)} and must be a text`
    if (name.toLowerCase() !== 'content-length') pairs.push([name, String(value)])
  }
  if (!pairs.some(([name]) => name.toLowerCase() === 'content-type')) pairs.push(json)
  for (const cookie of (cookies ?? []) as unknown[]) {
    if (typeof cookie !== 'string') return `cookies holds ${kindOf(cookie)} and must be a list of texts`
    pairs.push(['set-cookie', cookie])
  }
  return unsayable(pairs) ?? endToEnd(pairs)
}

/** A header that HTTP cannot carry. */
function unsayable(pairs: HeaderList): string | null {
  for (const [name, value] of pairs) {
    try {
      validateHeaderName(name)
      validateHeaderValue(name, value)
    } catch {
      return `headers[${shown(name)}] cannot be a header of HTTP: names are tokens, values have no line ends and no character beyond U+00FF`
    }
  }
  return null
}

const shownCharsMax = 100

function shown(value: unknown): string {
  return JSON.stringify(value).slice(0, shownCharsMax)
}

function kindOf(value: unknown): string {
  if (value === null) return 'null'
  if (Array.isArray(value)) return 'a list'
  return typeof value === 'object' ? 'an object' : typeof value === 'string' ? 'a text' : `a ${typeof value}`
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
