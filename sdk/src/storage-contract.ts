import { z } from 'zod'
import type { Route } from './contract.ts'
import * as s from './schemas.ts'

/* Rows of the contract table about storage: buckets of objects, named `s3://bucket/key` elsewhere. */

const bucket = z.object({ bucket: z.string().describe('3 to 63 lower-case letters, digits, `-` or `.`.') })
/** The rest of the path, slashes and all. */
const object = bucket.extend({ key: z.string().describe('The rest of the path: 1 to 1024 bytes.') })
const ofVersion = z.strictObject({
  versionId: z.string().optional().describe('One version, of the last 10 that are kept; default: the newest.'),
})

export const storedObject = z
  .object({
    bucket: z.string(),
    key: z.string(),
    versionId: z.string(),
    digest: z.string(),
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
    summary: 'Buckets of the project, by name.',
  },
  listObjects: {
    method: 'GET',
    path: '/v1/storage/{bucket}',
    params: bucket,
    query: s.pageQuery.extend({ prefix: z.string().optional().describe('Only keys that begin with this.') }),
    reply: s.pageOf(storedObject),
    status: 200,
    scope: 'storage:read',
    summary: 'Objects of a bucket by key, each with its newest version.',
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
      'Store the body, at most 5 GiB, as the newest version of an object; the bucket is made when it is not there.',
  },
  getObject: {
    method: 'GET',
    path: '/v1/storage/{bucket}/{key...}',
    params: object,
    query: ofVersion,
    reply: 'bytes',
    status: 200,
    scope: 'storage:read',
    summary: 'The bytes of an object, with `ETag` and `Hearth-Version-Id`; HEAD gives the headers alone.',
  },
  deleteObject: {
    method: 'DELETE',
    path: '/v1/storage/{bucket}/{key...}',
    params: object,
    query: ofVersion,
    reply: 'none',
    status: 204,
    scope: 'storage:write',
    summary: 'Delete an object with all its versions, or one of them; functions deployed from it keep their code.',
  },
  listObjectVersions: {
    method: 'GET',
    path: '/v1/storage-versions/{bucket}/{key...}',
    params: object,
    reply: s.listOf(storedObject),
    status: 200,
    scope: 'storage:read',
    summary: 'The versions that are kept of an object, newest first.',
  },
} as const satisfies Record<string, Route>
