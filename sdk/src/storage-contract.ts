import { z } from 'zod'
import type { Route } from './contract.ts'
import * as s from './schemas.ts'

/* Rows of the contract table about storage: buckets of objects, named `s3://bucket/key` elsewhere. */

const bucket = z.object({ bucket: z.string().describe('3 to 63 lower-case letters, digits, `-` or `.`.') })
/** The rest of the path, slashes and all. */
const object = bucket.extend({ key: z.string().describe('The rest of the path: 1 to 1024 bytes.') })
const ofVersion = z.strictObject({
  versionId: z
    .string()
    .optional()
    .describe('One version, of those that are kept (built-in: the last 10); default: the newest.'),
})

export const storedObject = z
  .object({
    bucket: z.string(),
    key: z.string(),
    versionId: z.string().nullable().describe('Null: the S3 server keeps no versions, or does not say which this is.'),
    digest: z.string().nullable().describe('Null: the S3 server knows none; after a put it is there.'),
    bytes: z.number(),
    etag: z.string(),
    createdAt: z.number(),
  })
  .meta({ id: 'StoredObject' })
export const bucketView = z.object({ name: z.string(), createdAt: z.number() }).meta({ id: 'Bucket' })

export const storageRoutes = {
  listBuckets: {
    method: 'GET',
    path: '/v1/storage',
    reply: s.listOf(bucketView),
    status: 200,
    scope: 'storage:read',
    summary: 'Buckets, by name: of the project, or of the S3 server that is set.',
  },
  listObjects: {
    method: 'GET',
    path: '/v1/storage/{bucket}',
    params: bucket,
    query: s.pageQuery.extend({ prefix: z.string().optional().describe('Only keys that begin with this.') }),
    reply: s.pageOf(storedObject),
    status: 200,
    scope: 'storage:read',
    summary: 'Objects of a bucket by key, each with its newest version; the lists of an S3 server do not name it.',
  },
  putObject: {
    method: 'PUT',
    path: '/v1/storage/{bucket}/{key...}',
    params: object,
    body: 'bytes',
    reply: storedObject,
    status: 201,
    scope: 'storage:write',
    summary:
      'Store the body, at most 5 GiB, as the newest version of an object; built-in, the bucket is made when it is not there.',
    audit: ['object.put'],
  },
  getObject: {
    method: 'GET',
    path: '/v1/storage/{bucket}/{key...}',
    params: object,
    query: ofVersion,
    reply: 'bytes',
    status: 200,
    scope: 'storage:read',
    summary:
      'The bytes of an object, with `ETag` and, where there is one, `Hearth-Version-Id`; HEAD gives the headers alone.',
  },
  deleteObject: {
    method: 'DELETE',
    path: '/v1/storage/{bucket}/{key...}',
    params: object,
    query: ofVersion,
    reply: 'none',
    status: 204,
    scope: 'storage:write',
    summary:
      'Delete an object with all its versions, or one of them; an S3 server that keeps versions keeps them. Functions deployed from it keep their code.',
    audit: ['object.delete'],
  },
  listObjectVersions: {
    method: 'GET',
    path: '/v1/storage-versions/{bucket}/{key...}',
    params: object,
    reply: s.listOf(storedObject),
    status: 200,
    scope: 'storage:read',
    summary: 'The versions that are kept of an object, newest first, at most 1,000.',
  },
} as const satisfies Record<string, Route>
