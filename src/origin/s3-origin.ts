import type { GetObjectCommandOutput, S3Client, S3ClientConfig } from '@aws-sdk/client-s3'
import type { OriginAddress } from '../domain/code-source.ts'
import { ClosedAddress, publicLookup, refuseClosedLiteral } from './public-address.ts'
import type { OpenPart, Part } from './resumable.ts'
import { changedMeanwhile, connectionProblem, isCertificateError, refuse, Trouble } from './trouble.ts'
import https from 'node:https'
import { Readable } from 'node:stream'

type S3Address = OriginAddress & { readonly kind: 's3' }

export interface S3Options {
  readonly allowsPrivate: boolean
  readonly answerMs: number
}

/** Opens an object of any S3 server, and the client with it: whoever is through calls `close`. The SDK is loaded here and nowhere else, at its
 *  first use (30 MB of memory). */
export async function s3Opener(address: S3Address, options: S3Options): Promise<{ open: OpenPart; close: () => void }> {
  const isGuarded = address.isForeign && !options.allowsPrivate
  if (isGuarded) refuseForeign(address)
  const { S3Client, GetObjectCommand } = await import('@aws-sdk/client-s3')
  const client: S3Client = new S3Client(configOf(address, options, isGuarded))
  const { bucket: Bucket, key: Key, versionId } = address
  const open: OpenPart = async ({ offset, etag }) => {
    const command = new GetObjectCommand({
      Bucket,
      Key,
      ...(versionId !== null && { VersionId: versionId }),
      ...(offset > 0 && { Range: `bytes=${offset}-` }),
      ...(offset > 0 && etag !== null && { IfMatch: etag }),
    })
    try {
      return toPart(await client.send(command))
    } catch (error) {
      throw explain(address, error)
    }
  }
  return { open, close: () => client.destroy() }
}

function configOf(address: S3Address, { answerMs }: S3Options, isGuarded: boolean): S3ClientConfig {
  return {
    endpoint: address.endpoint,
    region: address.region,
    // What is not Amazon's rarely has a name for each bucket.
    forcePathStyle: true,
    // Retried by whoever resumes: one place that knows how long.
    maxAttempts: 1,
    responseChecksumValidation: 'WHEN_REQUIRED',
    requestChecksumCalculation: 'WHEN_REQUIRED',
    requestHandler: {
      connectionTimeout: answerMs,
      requestTimeout: answerMs,
      throwOnRequestTimeout: true,
      ...(isGuarded && { httpsAgent: new https.Agent({ lookup: publicLookup }) }),
    },
    ...(address.credentials !== null && { credentials: address.credentials }),
  }
}

function refuseForeign(address: S3Address): void {
  const url = new URL(address.endpoint)
  if (url.protocol !== 'https:')
    throw refuse(address, `its endpoint ${address.endpoint} is not https`, 'Name an https endpoint.')
  try {
    refuseClosedLiteral(url.hostname)
  } catch (error) {
    throw explain(address, error)
  }
}

function toPart({ Body, ContentRange, ContentLength, ETag, VersionId }: GetObjectCommandOutput): Part {
  if (!(Body instanceof Readable)) throw new Trouble('the answer has no body')
  const [, start, whole] = /^bytes (\d+)-\d+\/(\d+)$/.exec(ContentRange ?? '') ?? []
  return {
    content: Body,
    offset: start === undefined ? 0 : Number(start),
    bytes: whole === undefined ? (ContentLength ?? null) : Number(whole),
    etag: ETag ?? null,
    versionId: VersionId ?? null,
  }
}

/** What S3 calls it, and what to do. Source: S3 API reference, Error responses. */
const refusals: Readonly<Record<string, readonly [problem: (address: S3Address) => string, fix: string]>> = {
  NoSuchKey: [({ bucket }) => `bucket "${bucket}" has no such object`, 'Check the key.'],
  NoSuchVersion: [({ versionId }) => `the object has no version "${versionId}"`, 'Check the versionId.'],
  NoSuchBucket: [({ bucket }) => `there is no bucket "${bucket}"`, 'Check the bucket and the endpoint.'],
  PermanentRedirect: [({ region }) => `the bucket is not in region "${region}"`, 'Name its region.'],
  AuthorizationHeaderMalformed: [({ region }) => `the bucket is not in region "${region}"`, 'Name its region.'],
  CredentialsProviderError: [
    () => 'there are no credentials',
    'Name a secret that holds accessKeyId:secretAccessKey, or give the platform credentials.',
  ],
}
const credentialsRefused = new Set([
  ...[
    'AccessDenied',
    'InvalidAccessKeyId',
    'SignatureDoesNotMatch',
    'ExpiredToken',
    'InvalidToken',
    'InvalidClientTokenId',
  ],
  ...['RequestTimeTooSkewed', 'AuthFailure', 'Forbidden'],
])

function explain(address: S3Address, error: unknown): unknown {
  if (!(error instanceof Error) || error instanceof Trouble) return error
  if (error instanceof ClosedAddress)
    return refuse(
      address,
      `its endpoint ${error.message} is not an address of the internet`,
      'Private and link-local addresses are closed, unless the operator sets allowPrivateSources.',
    )
  const status = statusOf(error)
  const [problem, fix] = refusals[error.name] ?? (status === 404 ? (refusals['NoSuchKey'] ?? []) : [])
  if (problem !== undefined && fix !== undefined) return refuse(address, problem(address), fix)
  if (error.name === 'PreconditionFailed' || status === 412 || status === 416) return changedMeanwhile(address)
  if (credentialsRefused.has(error.name) || status === 401 || status === 403)
    return refuse(
      address,
      `${new URL(address.endpoint).host} refuses the credentials (${error.name})`,
      'Check the secret, and that it may read the object.',
    )
  if (isCertificateError(error))
    return refuse(address, `the certificate of its endpoint is not trusted (${error.message})`, 'Check the endpoint.')
  if (status === 429 || status >= 500 || error.name === 'SlowDown') return new Trouble(`the endpoint answers ${status}`)
  // The SDK calls a connection that was cut a timeout as well; its code says which it is.
  const connection = connectionProblem(error)
  if (connection !== null) return new Trouble(connection)
  if (error.name === 'TimeoutError') return new Trouble('the endpoint does not answer')
  return refuse(address, `the endpoint answers ${status} ${error.name}: ${error.message}`, 'Check the address.')
}

function statusOf(error: Error): number {
  const metadata: unknown = '$metadata' in error ? error.$metadata : null
  if (typeof metadata !== 'object' || metadata === null || !('httpStatusCode' in metadata)) return 0
  return typeof metadata.httpStatusCode === 'number' ? metadata.httpStatusCode : 0
}
