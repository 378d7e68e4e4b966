import { AppError } from '../domain/error.ts'
import { s3Url, type ObjectRef } from '../domain/storage.ts'
import { s3Problem, type S3Place } from './s3-problem.ts'

/** What was to be done with objects, and where. */
export interface S3Deed {
  readonly verb: 'store' | 'read' | 'list' | 'delete'
  /** An object; a bucket; null = all buckets. */
  readonly what: ObjectRef | string | null
  readonly server: Pick<S3Place, 'endpoint' | 'region'>
}

/** The beginning of the sentence that says so. */
export function failing({ verb, what, server }: S3Deed): string {
  const shown =
    what === null ? `the buckets of ${server.endpoint}` : typeof what === 'string' ? `s3://${what}` : s3Url(what)
  return `Cannot ${verb} ${shown}`
}

/** What the SDK threw, as the platform's own failure; anything else as it is. */
export function s3Failure(deed: S3Deed, error: unknown): unknown {
  if (error instanceof AppError) return error
  const { verb, what } = deed
  const { bucket, versionId } =
    what !== null && typeof what === 'object' ? what : { bucket: what ?? '', versionId: null }
  const found = s3Problem({ ...deed.server, bucket, versionId }, error)
  if (found === null) return error
  const text = failing(deed)
  switch (found.kind) {
    case 'trouble':
      return new AppError('capacity', `${text}: ${found.problem}. Try again later.`, {
        retryAfterMs: 30_000,
        cause: error,
      })
    case 'changed':
      return new AppError('conflict', `${text}: it changed meanwhile. Try again.`, { retryable: true })
    case 'absent': {
      const isOfObject = verb === 'read' || verb === 'delete'
      if (isOfObject) return new AppError('not_found', `${text}: ${found.problem}. ${found.fix}`)
      const fix =
        verb === 'store'
          ? 'Make it there first: on a server like this none are made.'
          : 'Check the bucket and the endpoint.'
      return new AppError('not_found', `${text}: there is no bucket "${bucket}" at ${deed.server.endpoint}. ${fix}`)
    }
    default: {
      const { problem, fix } = found
      const about = found.kind === 'denied' ? { field: 's3Secret' } : { field: 'bucket', value: bucket }
      return new AppError('invalid', `${text}: ${problem}. ${fix}`, { ...about, allowed: fix, cause: error })
    }
  }
}
