import { AppError } from '../domain/error.ts'
import { pairsOfQuery, type SignableHead } from './sigv4-canonical.ts'

/** What a signed request says of its signature; nothing of it is believed. */
export interface SignatureClaim {
  readonly accessKeyId: string
  /** `YYYYMMDD`. */
  readonly date: string
  readonly region: string
  readonly service: string
  /** `YYYYMMDDTHHMMSSZ`. */
  readonly timestamp: string
  /** How long a presigned URL holds; null for a signature in a header. */
  readonly expiresSeconds: number | null
  readonly signedHeaders: readonly string[]
  /** 64 hexadecimal digits. */
  readonly signature: string
  /** As the request states it; null = that of the body. */
  readonly payloadHash: string | null
}

/** Refused in the words of AWS, with its name for what is wrong. */
export class SignatureError extends AppError {
  readonly type: 'IncompleteSignatureException' | 'InvalidSignatureException' | 'UnrecognizedClientException'

  constructor(type: SignatureError['type'], message: string) {
    super('forbidden', message)
    this.type = type
  }
}

export const unsignedPayload = 'UNSIGNED-PAYLOAD'
const algorithm = 'AWS4-HMAC-SHA256'
const service = 'lambda'
const skewMs = 5 * 60_000
const expiresSecondsMax = 604_800
const timestampPattern = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/
const hashPattern = /^[0-9a-f]{64}$/i

type Fields = ReadonlyMap<string, string>

/** Null for a request that carries no signature. Throws SignatureError for one that cannot be read. */
export function readClaim(head: SignableHead): SignatureClaim | null {
  const { target } = head
  const mark = target.indexOf('?')
  const query = fieldsOf(mark < 0 ? [] : pairsOfQuery(target.slice(mark + 1)).filter(([name]) => /^x-amz-/i.test(name)))
  const headers = fieldsOf(head.headers)
  const authorization = headers.get('authorization') ?? ''
  const [word, parameters] = splitOnce(authorization.trim(), ' ')
  const isPresigned = query.has('x-amz-signature') || query.has('x-amz-algorithm')
  if (isPresigned && authorization !== '')
    throw incomplete('A request is signed by its Authorization header or by its query, not by both.')
  if (!isPresigned && !/^AWS4-/.test(word)) return null
  return isPresigned ? presignedClaim(query, headers) : headerClaim(word, fieldsOf(parametersOf(parameters)), headers)
}

function headerClaim(word: string, parameters: Fields, headers: Fields): SignatureClaim {
  const need = (name: string): string => {
    const value = parameters.get(name.toLowerCase()) ?? ''
    if (value === '') throw incomplete(`Authorization header requires '${name}' parameter.`)
    return value
  }
  if (word !== algorithm) throw incomplete(`Authorization header requires the algorithm ${algorithm}.`)
  const timestamp = headers.get('x-amz-date') ?? basicDate(headers.get('date') ?? '')
  if (timestamp === null)
    throw incomplete(`Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.`)
  const expiresSeconds = null
  const payloadHash = headers.get('x-amz-content-sha256') ?? null
  return claimOf(need, { timestamp, expiresSeconds, payloadHash })
}

function presignedClaim(query: Fields, headers: Fields): SignatureClaim {
  const need = (name: string): string => {
    const value = query.get(`x-amz-${name.toLowerCase()}`) ?? ''
    if (value === '') throw incomplete(`AWS query-string parameters must include 'X-Amz-${name}'.`)
    return value
  }
  if (need('Algorithm') !== algorithm) throw incomplete(`X-Amz-Algorithm must be ${algorithm}.`)
  const expires = need('Expires')
  const expiresSeconds = /^\d{1,7}$/.test(expires) ? Number(expires) : 0
  if (expiresSeconds < 1 || expiresSeconds > expiresSecondsMax)
    throw incomplete(`X-Amz-Expires must be a whole number of seconds from 1 to ${expiresSecondsMax}.`)
  const payloadHash = headers.get('x-amz-content-sha256') ?? query.get('x-amz-content-sha256') ?? null
  return claimOf(need, { timestamp: need('Date'), expiresSeconds, payloadHash })
}

function claimOf(
  need: (name: string) => string,
  rest: Pick<SignatureClaim, 'timestamp' | 'expiresSeconds' | 'payloadHash'>,
): SignatureClaim {
  const scope = need('Credential').split('/')
  const [accessKeyId = '', date = '', region = '', of = '', end = ''] = scope
  if (scope.length !== 5 || end !== 'aws4_request' || !/^\w{1,128}$/.test(accessKeyId))
    throw incomplete('Credential must be ACCESS-KEY-ID/YYYYMMDD/REGION/SERVICE/aws4_request.')
  const signature = need('Signature')
  if (!hashPattern.test(signature)) throw incomplete('Signature must be 64 hexadecimal digits.')
  const signedHeaders = need('SignedHeaders').split(';')
  if (signedHeaders.some((name, index) => name !== name.toLowerCase() || name <= (signedHeaders[index - 1] ?? '')))
    throw incomplete('SignedHeaders must be names in lower case, sorted, each once.')
  if (!timestampPattern.test(rest.timestamp)) throw incomplete('X-Amz-Date must have the form YYYYMMDDTHHMMSSZ.')
  const { payloadHash } = rest
  if (payloadHash !== null && payloadHash !== unsignedPayload && !hashPattern.test(payloadHash))
    throw incomplete(`x-amz-content-sha256 must be ${unsignedPayload}, or the SHA-256 of the body in hexadecimal.`)
  return { accessKeyId, date, region, service: of, signature, signedHeaders, ...rest }
}

/** Whether a signature that is right may be used for this, here and now. Throws SignatureError. */
export function checkClaim(
  claim: SignatureClaim,
  { head, region, nowMs }: { head: SignableHead; region: string; nowMs: number },
): void {
  const names = head.headers.map(([name]) => name.toLowerCase())
  if (names.includes('x-amz-security-token') || /[?&]x-amz-security-token=/i.test(head.target))
    throw new SignatureError(
      'UnrecognizedClientException',
      'The security token included in the request is invalid: access keys of this platform have none.',
    )
  if (claim.service !== service) throw wrong(`Credential should be scoped to correct service: '${service}'.`)
  if (claim.region !== region) throw wrong(`Credential should be scoped to a valid region: '${region}'.`)
  if (!claim.timestamp.startsWith(claim.date))
    throw wrong('Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP.')
  checkTime(claim, nowMs)
  // A signature holds for what a path leads to, and here it is taken as it is written: by it one function could be called for another.
  if (/\/\.\.?(\/|$)/.test(head.target.replace(/\?.*$/s, '')))
    throw wrong("A signed path must have no '.' or '..' segment.")
  const unsigned = names.find((name) => isDemanded(name) && !claim.signedHeaders.includes(name))
  if (unsigned !== undefined || !claim.signedHeaders.includes('host'))
    throw wrong(`'${unsigned ?? 'host'}' must be a 'SignedHeader' in the AWS Credentials.`)
}

/** What the service itself goes by must be the signer's. */
const isDemanded = (name: string): boolean => name === 'host' || name.startsWith('x-amz-')

function checkTime({ timestamp, expiresSeconds }: SignatureClaim, nowMs: number): void {
  const signedAtMs = Date.parse(timestamp.replace(timestampPattern, '$1-$2-$3T$4:$5:$6Z'))
  if (Number.isNaN(signedAtMs)) throw incomplete(`X-Amz-Date "${timestamp}" is no date.`)
  const [now, early, late] = [nowMs, nowMs - skewMs, nowMs + skewMs].map(basicText)
  if (signedAtMs > nowMs + skewMs)
    throw wrong(`Signature not yet current: ${timestamp} is still later than ${late} (${now} + 5 min.)`)
  if (expiresSeconds === null && signedAtMs < nowMs - skewMs)
    throw wrong(`Signature expired: ${timestamp} is now earlier than ${early} (${now} - 5 min.)`)
  if (expiresSeconds !== null && signedAtMs + expiresSeconds * 1_000 < nowMs)
    throw wrong(`Signature expired: ${timestamp} was good for ${expiresSeconds} s, and it is ${now}.`)
}

/** The date of an HTTP `Date` header in the form of a signature; null where it is none. */
function basicDate(text: string): string | null {
  if (timestampPattern.test(text)) return text
  const date = new Date(text)
  return !Number.isNaN(date.getTime()) && date.toUTCString() === text ? basicText(date.getTime()) : null
}

function basicText(ms: number): string {
  return new Date(ms).toISOString().replaceAll(/[-:]|\.\d+/g, '')
}

function parametersOf(text: string): [string, string][] {
  return text.split(',').map((part) => splitOnce(part.trim(), '='))
}

/** By name without case. What comes twice has no meaning. */
function fieldsOf(pairs: readonly (readonly [string, string])[]): Fields {
  const fields = new Map<string, string>()
  for (const [name, value] of pairs) {
    const lower = name.toLowerCase()
    const isTwice = fields.has(lower) && (lower === 'authorization' || lower.startsWith('x-amz-'))
    if (isTwice) throw incomplete(`"${lower.slice(0, 100)}" must come once.`)
    fields.set(lower, value.trim())
  }
  return fields
}

function splitOnce(text: string, by: string): [string, string] {
  const at = text.indexOf(by)
  return at < 0 ? [text, ''] : [text.slice(0, at), text.slice(at + by.length)]
}

function incomplete(message: string): SignatureError {
  return new SignatureError('IncompleteSignatureException', message)
}

function wrong(message: string): SignatureError {
  return new SignatureError('InvalidSignatureException', message)
}

/** In AWS's words. */
export function mismatch(): SignatureError {
  return wrong(
    'The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details.',
  )
}
