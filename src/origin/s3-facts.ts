import { versionIdPattern, type BucketFacts, type ObjectFacts, type ObjectRef } from '../domain/storage.ts'

/* What S3 says of objects and buckets, as we say it. A server that leaves out what S3 always says is none: these throw Error. */

interface Said {
  readonly ContentLength?: number | undefined
  readonly ETag?: string | undefined
  readonly LastModified?: Date | undefined
  readonly VersionId?: string | undefined
}

export function objectFacts(
  { bucket, key, versionId = null }: Pick<ObjectRef, 'bucket' | 'key'> & Partial<ObjectRef>,
  { ContentLength, ETag, LastModified, VersionId }: Said,
): ObjectFacts {
  const bytes = known('size', ContentLength)
  if (!Number.isSafeInteger(bytes) || bytes < 0) throw new Error(`the size ${bytes} is none`)
  // Servers quote it, as HTTP has it.
  const etag = known('ETag', ETag).replace(/^"|"$/g, '')
  const isOurs = VersionId !== undefined && versionIdPattern.test(VersionId)
  const createdAt = known('time', LastModified).getTime()
  return { bucket, key, versionId: isOurs ? VersionId : versionId, digest: null, bytes, etag, createdAt }
}

export function bucketFacts({
  Name,
  CreationDate,
}: {
  readonly Name?: string | undefined
  readonly CreationDate?: Date | undefined
}): BucketFacts {
  return { name: known('name', Name), createdAt: known('time', CreationDate).getTime() }
}

/** A key as lists spell it: percent-encoded where the server says so, so that XML holds it. */
export function toKey(text: string | undefined, encoding: string | undefined): string {
  const key = known('key', text)
  return encoding === 'url' ? decodeURIComponent(key.replaceAll('+', ' ')) : key
}

function known<T>(name: string, value: T | undefined): T {
  if (value === undefined) throw new Error(`there is no ${name} in it`)
  return value
}
