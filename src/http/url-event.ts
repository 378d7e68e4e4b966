import { isUtf8 } from 'node:buffer'
import type { IncomingMessage } from 'node:http'
import { TLSSocket } from 'node:tls'
import type { FunctionUrl } from '../domain/function-url.ts'
import type { Signer } from './url-signature.ts'
import { forwardedHeaders, sourceIp } from './url-headers.ts'
import type { UrlTarget } from './url-place.ts'
import { amznRoot } from './url-trace.ts'

export interface EventParts {
  readonly request: IncomingMessage
  readonly url: FunctionUrl
  readonly target: UrlTarget
  readonly body: Buffer
  /** Of a URL with auth `aws_iam`. */
  readonly signer: Signer | null
  /** Of the invocation that it becomes. */
  readonly requestId: string
  readonly traceparent: string
  readonly nowMs: number
}

const months = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec']
const textTypes = /^(text\/|application\/(json|xml|javascript)$|[^;]*\+(json|xml)$)/i

/** The event of an HTTP request: AWS's payload format 2.0. */
export function urlEvent(parts: EventParts): unknown {
  const { request, target, body } = parts
  const mark = target.target.indexOf('?')
  const rawPath = mark < 0 ? target.target : target.target.slice(0, mark)
  const rawQueryString = mark < 0 ? '' : target.target.slice(mark + 1)
  const { headers, cookies } = eventHeaders(parts)
  const query = queryOf(rawQueryString)
  const isText = textTypes.test((request.headers['content-type'] ?? '').split(';')[0]?.trim() ?? '') && isUtf8(body)
  return {
    version: '2.0',
    routeKey: '$default',
    rawPath,
    rawQueryString,
    ...(cookies.length > 0 && { cookies }),
    headers,
    ...(query !== null && { queryStringParameters: query }),
    requestContext: requestContext(parts, rawPath),
    ...(body.length > 0 && { body: body.toString(isText ? 'utf8' : 'base64') }),
    isBase64Encoded: body.length > 0 && !isText,
  }
}

const accountId = '000000000000'

function requestContext(parts: EventParts, path: string): unknown {
  const { request, url, signer, requestId, nowMs } = parts
  const { label } = parts.target
  const { method, headers, httpVersion } = request
  return {
    accountId: url.auth === 'none' ? 'anonymous' : accountId,
    apiId: label,
    ...(signer !== null && { authentication: null, authorizer: { iam: identityOf(signer) } }),
    domainName: (headers.host ?? '').replace(/:\d+$/, ''),
    domainPrefix: label,
    http: {
      method,
      path,
      protocol: `HTTP/${httpVersion}`,
      sourceIp: sourceIp(request),
      userAgent: headers['user-agent'] ?? '',
    },
    requestId,
    routeKey: '$default',
    stage: '$default',
    time: timeText(nowMs),
    timeEpoch: nowMs,
  }
}

/** The API key as an IAM user of AWS. */
function identityOf({ caller: { actor, project }, accessKeyId }: Signer): unknown {
  return {
    accessKey: accessKeyId,
    accountId,
    callerId: actor,
    cognitoIdentity: null,
    principalOrgId: null,
    userArn: `arn:aws:iam::${accountId}:user/${project}/${actor}`,
    userId: actor,
  }
}

function eventHeaders({ request, url, target, traceparent }: EventParts): {
  headers: Record<string, string>
  cookies: string[]
} {
  const headers: Record<string, string> = Object.create(null) as Record<string, string>
  const cookies: string[] = []
  for (const [name, value] of forwardedHeaders(request, url, target)) {
    const lower = name.toLowerCase()
    if (lower === 'cookie') cookies.push(...value.split(';').map((cookie) => cookie.trim()))
    else headers[lower] = lower in headers ? `${headers[lower] ?? ''},${value}` : value
  }
  headers['x-amzn-trace-id'] = amznRoot(traceparent)
  if (request.socket instanceof TLSSocket) {
    headers['x-amzn-tls-version'] = request.socket.getProtocol() ?? ''
    headers['x-amzn-tls-cipher-suite'] = request.socket.getCipher().standardName
  }
  return { headers, cookies: cookies.filter((cookie) => cookie !== '') }
}

/** Decoded, repeated ones joined by a comma; null when there is none. */
function queryOf(text: string): Record<string, string> | null {
  const query: Record<string, string> = Object.create(null) as Record<string, string>
  for (const [name, value] of new URLSearchParams(text))
    query[name] = name in query ? `${query[name] ?? ''},${value}` : value
  return Object.keys(query).length === 0 ? null : query
}

/** `12/Mar/2020:19:03:58 +0000`. */
function timeText(ms: number): string {
  const date = new Date(ms)
  const two = (value: number): string => String(value).padStart(2, '0')
  const day = `${two(date.getUTCDate())}/${months[date.getUTCMonth()] ?? ''}/${date.getUTCFullYear()}`
  return `${day}:${two(date.getUTCHours())}:${two(date.getUTCMinutes())}:${two(date.getUTCSeconds())} +0000`
}
