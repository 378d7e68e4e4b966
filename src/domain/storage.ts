import type { Digest } from './artifact.ts'
import { invalid } from './error.ts'
import { limits } from './limits.ts'

/** What there is to say of a bucket, wherever it lies. */
export type BucketFacts = Pick<Bucket, 'name' | 'createdAt'>

/** A named set of objects of one project; made by the first put into it. */
export interface Bucket {
  readonly project: string
  readonly name: string
  readonly createdAt: number
}

/** One version of an object. Its bytes are an artifact: equal content is stored once, and is ready to be code. */
export interface StoredObject {
  readonly project: string
  readonly bucket: string
  readonly key: string
  /** Never given out twice. */
  readonly versionId: string
  readonly digest: Digest
  readonly bytes: number
  /** Without quotes; equal content has an equal one. */
  readonly etag: string
  readonly createdAt: number
}

/** What there is to say of an object, wherever it lies; null = the S3 server that has it does not say. */
export interface ObjectFacts extends Omit<StoredObject, 'project' | 'versionId' | 'digest'> {
  readonly versionId: string | null
  /** After a put it is there: the bytes came through here. */
  readonly digest: Digest | null
}

/** Which object, and which of its versions; null = the newest. */
export interface ObjectRef {
  readonly bucket: string
  readonly key: string
  readonly versionId: string | null
}

const bucketPattern = /^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/
export const versionIdPattern = /^[A-Za-z0-9._-]{1,128}$/

/** Throws invalid. Source of the form: the naming rules of S3. */
export function checkBucket(name: string, field = 'bucket'): string {
  if (!bucketPattern.test(name) || name.includes('..'))
    throw invalid(
      field,
      name,
      '3 to 63 lower-case letters, digits, "-" or ".", beginning and ending with a letter or digit',
    )
  return name
}

/** Throws invalid. Keys look like relative paths, and a download may be named after one: what means something else in a path, a URL or on a
 *  terminal is no key. */
export function checkKey(key: string, field = 'key'): string {
  const { keyBytesMax } = limits.storage
  const bytes = Buffer.byteLength(key)
  if (bytes === 0 || bytes > keyBytesMax) throw invalid(field, shorten(key), `1 to ${keyBytesMax} bytes of UTF-8`)
  if (!key.isWellFormed() || /[\p{Cc}\p{Cs}\p{Noncharacter_Code_Point}]/u.test(key))
    throw invalid(field, key, 'a text without control characters')
  if (key.split('/').some((part) => part === '' || part === '.' || part === '..'))
    throw invalid(field, key, 'parts between slashes that are neither empty nor "." or ".."')
  return key
}

/** Throws invalid. */
export function checkVersionId(versionId: string, field = 'versionId'): string {
  if (!versionIdPattern.test(versionId)) throw invalid(field, shorten(versionId), 'the versionId of a put')
  return versionId
}

/** The same reference. Throws invalid. */
export function checkRef(ref: ObjectRef): ObjectRef {
  checkBucket(ref.bucket)
  checkKey(ref.key)
  if (ref.versionId !== null) checkVersionId(ref.versionId)
  return ref
}

/** `s3://bucket/key[?versionId=..]` in parts. Throws invalid, with `text` as the value of `field`. */
export function parseS3Url(text: string, field: string): ObjectRef {
  const [, bucket = '', key = '', , versionId] = /^s3:\/\/([^/?#]*)\/([^?]*)(\?versionId=([^&#]*))?$/.exec(text) ?? []
  if (key === '') throw invalid(field, shorten(text), 's3://BUCKET/KEY or s3://BUCKET/KEY?versionId=ID')
  checkBucket(bucket, field)
  return {
    bucket,
    key: checkKey(key, field),
    versionId: versionId === undefined ? null : checkVersionId(versionId, field),
  }
}

/** The inverse. */
export function s3Url({ bucket, key, versionId }: ObjectRef): string {
  return `s3://${bucket}/${key}${versionId === null ? '' : `?versionId=${versionId}`}`
}

function shorten(text: string): string {
  return text.length > 200 ? `${text.slice(0, 200)}...` : text
}
