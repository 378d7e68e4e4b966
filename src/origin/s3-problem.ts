import { ClosedAddress } from './public-address.ts'
import { AnswerTooLong } from './s3-client.ts'
import { connectionProblem, isCertificateError, Trouble } from './trouble.ts'

/** Where what failed was to happen. */
export interface S3Place {
  readonly endpoint: string
  readonly region: string
  readonly bucket: string
  readonly versionId: string | null
}

/** What went wrong, and what to do about it. */
export type S3Problem =
  | {
      /** `absent`: there is no such thing; `denied`: not with these credentials; `refused`: not as it is. */
      readonly kind: 'absent' | 'denied' | 'refused'
      readonly problem: string
      readonly fix: string
    }
  /** The object is not the one that was meant. */
  | { readonly kind: 'changed' }
  /** May be over soon. */
  | { readonly kind: 'trouble'; readonly problem: string }

type Entry = readonly [kind: 'absent' | 'denied' | 'refused', problem: (place: S3Place) => string, fix: string]

/** A HEAD has no body that says more. */
const notFound: Entry = ['absent', () => 'there is no such object', 'Check the bucket and the key.']
const otherRegion: Entry = ['refused', ({ region }) => `the bucket is not in region "${region}"`, 'Name its region.']

/** What S3 calls it. Source: S3 API reference, Error responses. */
const problems: Readonly<Record<string, Entry>> = {
  NotFound: notFound,
  NoSuchKey: ['absent', ({ bucket }) => `bucket "${bucket}" has no such object`, 'Check the key.'],
  NoSuchVersion: ['absent', ({ versionId }) => `the object has no version "${versionId}"`, 'Check the versionId.'],
  NoSuchBucket: ['absent', ({ bucket }) => `there is no bucket "${bucket}"`, 'Check the bucket and the endpoint.'],
  PermanentRedirect: otherRegion,
  AuthorizationHeaderMalformed: otherRegion,
  CredentialsProviderError: [
    'denied',
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

/** What the SDK threw, in words; null when it is no failure of a request. The server's own words are cut, and harmless on a terminal. */
export function s3Problem(place: S3Place, error: unknown): S3Problem | null {
  if (!(error instanceof Error)) return null
  if (error instanceof Trouble) return { kind: 'trouble', problem: error.message }
  if (error instanceof ClosedAddress)
    return {
      kind: 'refused',
      problem: `its endpoint ${error.message} is not an address of the internet`,
      fix: 'Private and link-local addresses are closed, unless the operator sets allowPrivateSources.',
    }
  if (error instanceof AnswerTooLong) return { kind: 'refused', problem: error.message, fix: 'Check the endpoint.' }
  const status = statusOf(error)
  // What the SDK calls an answer that has no name for it: 404 with another is no absence of an object, but of a user, say.
  const isNameless = error.name === 'UnknownError'
  const entry = entryOf(error.name) ?? (status === 404 && isNameless ? notFound : undefined)
  if (entry !== undefined) {
    const [kind, problem, fix] = entry
    return { kind, problem: problem(place), fix }
  }
  if (error.name === 'PreconditionFailed' || status === 412 || status === 416) return { kind: 'changed' }
  if (credentialsRefused.has(error.name) || status === 401 || status === 403)
    return {
      kind: 'denied',
      problem: `${new URL(place.endpoint).host} refuses the credentials (${harmless(error.name)})`,
      fix: 'Check the secret, and what it may do there.',
    }
  if (isCertificateError(error))
    return {
      kind: 'refused',
      problem: `the certificate of its endpoint is not trusted (${error.message})`,
      fix: 'Check the endpoint.',
    }
  return overSoon(error, status) ?? notS3(error, status)
}

function entryOf(name: string): Entry | undefined {
  return Object.hasOwn(problems, name) ? problems[name] : undefined
}

function overSoon(error: Error, status: number): S3Problem | null {
  const problem =
    status === 429 || status >= 500 || error.name === 'SlowDown'
      ? `the endpoint answers ${status}`
      : // The SDK calls a connection that was cut a timeout as well; its code says which it is.
        (connectionProblem(error) ?? (error.name === 'TimeoutError' ? 'the endpoint does not answer' : null))
  return problem === null ? null : { kind: 'trouble', problem }
}

function notS3(error: Error, status: number): S3Problem {
  const answer = status === 0 ? "the endpoint's answer is not S3's" : `the endpoint answers ${status}`
  return {
    kind: 'refused',
    problem: `${answer} (${harmless(`${error.name}: ${error.message}`)})`,
    fix: 'Check the address.',
  }
}

function harmless(text: string): string {
  return text.replaceAll(/\p{Cc}+/gu, ' ').slice(0, 200)
}

export function statusOf(error: Error): number {
  const metadata: unknown = '$metadata' in error ? error.$metadata : null
  if (typeof metadata !== 'object' || metadata === null || !('httpStatusCode' in metadata)) return 0
  return typeof metadata.httpStatusCode === 'number' ? metadata.httpStatusCode : 0
}
