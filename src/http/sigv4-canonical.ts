import { createHash } from 'node:crypto'
import type { HeaderList } from './url-headers.ts'

/** A request as far as a signature covers it, as it came: a byte is a character. */
export interface SignableHead {
  readonly method: string
  /** Path and query. */
  readonly target: string
  readonly headers: HeaderList
}

/** What of it was signed. */
export interface Coverage {
  /** Lower case, sorted. */
  readonly signedHeaders: readonly string[]
  readonly payloadHash: string
}

/** The lower-case hexadecimal SHA-256 of a request in the one form that AWS Signature Version 4 gives it, for any service but S3.
 *  Source: "Create a signed AWS API request" in AWS's IAM user guide. */
export function canonicalHash({ method, target, headers }: SignableHead, coverage: Coverage): string {
  const mark = target.indexOf('?')
  const path = mark < 0 ? target : target.slice(0, mark)
  const query = mark < 0 ? '' : target.slice(mark + 1)
  const { signedHeaders, payloadHash } = coverage
  const lines = [
    method,
    canonicalPath(path),
    canonicalQuery(query),
    canonicalHeaders(headers, signedHeaders),
    signedHeaders.join(';'),
    payloadHash,
  ]
  return createHash('sha256').update(lines.join('\n'), 'latin1').digest('hex')
}

/** What the path means, encoded once more than it came. */
function canonicalPath(path: string): string {
  const segments: string[] = []
  for (const segment of path.split('/')) {
    if (segment === '..') segments.pop()
    else if (segment !== '' && segment !== '.') segments.push(encode(segment))
  }
  return `/${segments.join('/')}${segments.length > 0 && path.endsWith('/') ? '/' : ''}`
}

/** All but the signature itself, sorted by what is sent, names first. */
function canonicalQuery(query: string): string {
  const pairs = pairsOfQuery(query).filter(([name]) => name !== 'X-Amz-Signature')
  const encoded = pairs.map(([name, value]) => [encode(name), encode(value)] as const)
  const sorted = encoded.toSorted((a, b) => order(a[0], b[0]) || order(a[1], b[1]))
  return sorted.map(([name, value]) => `${name}=${value}`).join('&')
}

/** Decoded, a byte a character. A plus sign is a space, as in forms. */
export function pairsOfQuery(query: string): [string, string][] {
  return query
    .split('&')
    .filter((part) => part !== '')
    .map((part) => {
      const split = part.indexOf('=')
      return split < 0 ? [decode(part), ''] : [decode(part.slice(0, split)), decode(part.slice(split + 1))]
    })
}

/** A line for each name, and an empty one behind them. */
function canonicalHeaders(headers: HeaderList, signedHeaders: readonly string[]): string {
  const values = new Map<string, string[]>(signedHeaders.map((name) => [name, []]))
  for (const [name, value] of headers) values.get(name.toLowerCase())?.push(value.trim().replaceAll(/\s+/g, ' '))
  return [...values].map(([name, list]) => `${name}:${list.join(',')}\n`).join('')
}

function decode(text: string): string {
  return text
    .replaceAll('+', ' ')
    .replaceAll(/%([0-9A-Fa-f]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
}

function encode(text: string): string {
  return text.replaceAll(
    /[^A-Za-z0-9._~-]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`,
  )
}

const order = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0)
