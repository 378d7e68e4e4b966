import { SignatureV4 } from '@smithy/signature-v4'
import { createHash, createHmac, type Hash, type Hmac } from 'node:crypto'
import { once } from 'node:events'
import http from 'node:http'
import type { AccessKey } from '../../src/domain/project.ts'

/** A request as AWS's signer takes and gives it. */
export interface SignableRequest {
  readonly method: string
  readonly protocol: string
  readonly hostname: string
  readonly path: string
  readonly query: Record<string, string | string[]>
  readonly headers: Record<string, string>
  readonly body?: string | Uint8Array
}

export interface Got {
  readonly status: number
  readonly headers: http.IncomingHttpHeaders
  readonly body: Buffer
  /** Of an answer that is an event or a refusal. */
  readonly json: () => Record<string, unknown>
}

/** AWS's own signer, over Node's hashes. */
export function awsSigner(
  credentials: AccessKey & { readonly sessionToken?: string },
  options: { region?: string; service?: string; applyChecksum?: boolean } = {},
): SignatureV4 {
  return new SignatureV4({ credentials, region: 'us-east-1', service: 'lambda', sha256: NodeSha256, ...options })
}

export function requestTo(host: string, parts: Partial<SignableRequest> = {}): SignableRequest {
  const { headers, ...rest } = parts
  return {
    method: 'GET',
    protocol: 'http:',
    hostname: host,
    path: '/',
    query: {},
    headers: { host, ...headers },
    ...rest,
  }
}

/** Sends what was signed, byte by byte, to `port` of this machine. */
export async function send(
  request: Omit<SignableRequest, 'query' | 'body'> & { query?: unknown; body?: unknown },
  port: number,
): Promise<Got> {
  const query = queryText(request.query ?? {})
  const sent = http.request({
    ...{ host: '127.0.0.1', port, agent: false, method: request.method, headers: request.headers },
    path: query === '' ? request.path : `${request.path}?${query}`,
  })
  sent.end(request.body)
  const [reply] = (await once(sent, 'response')) as [http.IncomingMessage]
  const body = Buffer.concat(await reply.toArray())
  const json = (): Record<string, unknown> => JSON.parse(body.toString()) as Record<string, unknown>
  return { status: reply.statusCode ?? 0, headers: reply.headers, body, json }
}

/** Encoded as the signer encodes it. */
export function queryText(query: object): string {
  const pairs = Object.entries(query).flatMap(([name, value]: [string, unknown]) =>
    (Array.isArray(value) ? value : [value]).map((each) => [name, String(each)] as const),
  )
  return pairs.map((pair) => pair.map(encodeURIComponent).join('=')).join('&')
}

class NodeSha256 {
  readonly #hash: Hash | Hmac

  constructor(secret?: string | ArrayBuffer | ArrayBufferView) {
    this.#hash = secret === undefined ? createHash('sha256') : createHmac('sha256', bytesOf(secret))
  }

  update(chunk: string | ArrayBuffer | ArrayBufferView): void {
    this.#hash.update(bytesOf(chunk))
  }

  async digest(): Promise<Uint8Array> {
    return this.#hash.digest()
  }

  reset(): void {
    throw new Error('A hash of Node cannot begin again.')
  }
}

function bytesOf(data: string | ArrayBuffer | ArrayBufferView): Buffer {
  if (typeof data === 'string') return Buffer.from(data)
  return ArrayBuffer.isView(data) ? Buffer.from(data.buffer, data.byteOffset, data.byteLength) : Buffer.from(data)
}
