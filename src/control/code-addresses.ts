import type { Digest } from '../domain/artifact.ts'
import type { OriginAddress } from '../domain/code-source.ts'
import { invalid } from '../domain/error.ts'

/* Parts of a code source as callers spell them, made sure of. */

/** Throws invalid, like those below. */
export function parseHex(text: string): Digest {
  const hex = text.toLowerCase()
  if (!/^[0-9a-f]{64}$/.test(hex)) throw invalid('code.sha256', text, '64 hex digits')
  return `sha256:${hex}`
}

/** The query may be a signature: it goes to the server, and nowhere else. */
export function parseHttps(text: string): OriginAddress {
  const shown = text.split(/[?#]/)[0]?.slice(0, 300) ?? ''
  const allowed = 'an https:// address without a user name or password'
  if (text.length > 4_096 || !URL.canParse(text)) throw invalid('code.https', shown, allowed)
  const url = new URL(text)
  if (url.protocol !== 'https:' || url.username !== '' || url.password !== '')
    throw invalid('code.https', shown.replace(/\/\/[^/@]*@/, '//...@'), allowed)
  return { kind: 'https', source: `${url.origin}${url.pathname}`, url: url.href }
}

export function parseEndpoint(text: string): string {
  const allowed = 'the address of an S3 endpoint, e.g. https://s3.example.com'
  if (text.length > 256 || !URL.canParse(text)) throw invalid('code.endpoint', text.slice(0, 256), allowed)
  const url = new URL(text)
  const isPlain = url.username === '' && url.password === '' && url.search === '' && url.hash === ''
  if (!/^https?:$/.test(url.protocol) || !isPlain)
    throw invalid('code.endpoint', `${url.origin}${url.pathname}`, allowed)
  return url.href.replace(/\/$/, '')
}

export function parseRegion(text: string): string {
  if (!/^[a-z0-9-]{1,64}$/.test(text)) throw invalid('code.region', text, 'a region, e.g. eu-central-1')
  return text
}
