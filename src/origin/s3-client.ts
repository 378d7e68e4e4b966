import type { S3Client } from '@aws-sdk/client-s3'
import type { S3Credentials } from '../domain/code-source.ts'
import { collect, isObject } from './small-body.ts'
import type https from 'node:https'
import { Readable } from 'node:stream'

export interface S3Server {
  readonly endpoint: string
  readonly region: string
  /** Null = what the platform's own environment has. */
  readonly credentials: S3Credentials | null
}

export interface S3ClientOptions {
  /** How long an answer may take to begin. */
  readonly answerMs: number
  /** A connection on which nothing moves for so long is cut. */
  readonly idleMs?: number
  readonly attemptsMax: number
  readonly httpsAgent?: https.Agent
}

type Sdk = typeof import('@aws-sdk/client-s3')

/** Longest answer that is no object: 1,000 keys of 1,024 bytes, each percent-encoded, with what belongs to them. */
const answerBytesMax = 8 * 2 ** 20

/** What it would write to the console, it throws as well. */
const silent = { debug() {}, info() {}, warn() {}, error() {} }

/** A client of any S3 server, for one piece of work: whoever is through destroys it, and its connections with it. The SDK is loaded here and
 *  nowhere else, at its first use (30 MB of memory). */
export async function openS3(server: S3Server, options: S3ClientOptions): Promise<{ sdk: Sdk; client: S3Client }> {
  const sdk = await import('@aws-sdk/client-s3')
  const { answerMs, idleMs, attemptsMax, httpsAgent } = options
  const client = new sdk.S3Client({
    endpoint: server.endpoint,
    region: server.region,
    // What is not Amazon's rarely has a name for each bucket.
    forcePathStyle: true,
    maxAttempts: attemptsMax,
    logger: silent,
    responseChecksumValidation: 'WHEN_REQUIRED',
    requestChecksumCalculation: 'WHEN_REQUIRED',
    requestHandler: {
      connectionTimeout: answerMs,
      requestTimeout: answerMs,
      throwOnRequestTimeout: true,
      ...(idleMs !== undefined && { socketTimeout: idleMs }),
      ...(httpsAgent !== undefined && { httpsAgent }),
    },
    ...(server.credentials !== null && { credentials: server.credentials }),
  })
  boundAnswers(client)
  return { sdk, client }
}

/** More came than any answer of S3's has. */
export class AnswerTooLong extends Error {
  override readonly name = 'AnswerTooLong'
}

/** The SDK reads what it parses into memory, however much comes. */
function boundAnswers(client: S3Client): void {
  client.middlewareStack.add(
    (next, { commandName }) =>
      async (args) => {
        const result = await next(args)
        const response: unknown = result.response
        if (!isObject(response) || !(response['body'] instanceof Readable)) return result
        const { body, statusCode } = response
        if (commandName === 'GetObjectCommand' && (statusCode === 200 || statusCode === 206)) return result
        const whole = await collect(body, answerBytesMax)
        if (whole === null) throw new AnswerTooLong(`the endpoint answers with more than ${answerBytesMax} bytes`)
        return { ...result, response: Object.assign(response, { body: Readable.from([whole], { objectMode: false }) }) }
      },
    // Within the step, the last before the network: the SDK's own parsing comes after it.
    { step: 'deserialize', priority: 'low', name: 'boundAnswers' },
  )
}
