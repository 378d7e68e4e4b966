import type { ArtifactStore } from '../domain/artifact.ts'
import type { Caller, Control } from '../domain/control.ts'
import { AppError } from '../domain/error.ts'
import { limits } from '../domain/limits.ts'
import { checkBucket, checkKey, checkRef, s3Url, type ObjectRef, type StoredObject } from '../domain/storage.ts'
import type { AuditDraft, Store } from '../domain/store.ts'
import type { Blobs } from './blobs.ts'
import { demand } from './scopes.ts'
import { randomBytes } from 'node:crypto'

export interface OwnStorageParts {
  readonly store: Store
  readonly artifacts: ArtifactStore
  readonly blobs: Blobs
}

/** Buckets of objects over the artifact store: `s3://` on one machine with nothing else. */
export function ownStorage({ store, artifacts, blobs }: OwnStorageParts): Control['storage'] {
  return {
    async put(caller, { bucket, key }, { source, bytesExpected }) {
      demand(caller, 'storage:write')
      const at = { project: caller.project, bucket: checkBucket(bucket), key: checkKey(key) }
      const bytesMax = limits.storage.objectBytesMax
      const options = { isOwned: true, bytesMax, ...(bytesExpected !== null && { bytesExpected }) }
      const { object, dropped } = await blobs.put(source, options, async ({ digest, bytes }) => {
        const versionId = randomBytes(12).toString('hex')
        const draft = { ...at, versionId, digest, bytes, etag: digest.slice('sha256:'.length) }
        return store.storage.put(draft, auditOf(caller, 'object.put', { bucket, key, versionId }, { digest, bytes }))
      })
      await blobs.release(dropped)
      return object
    },
    async stat(caller, ref) {
      demand(caller, 'storage:read')
      return findObject(store, caller, ref)
    },
    async open(caller, ref) {
      demand(caller, 'storage:read')
      const object = await findObject(store, caller, ref)
      return { object, content: await artifacts.open(object.digest) }
    },
    async list(caller, { bucket, prefix }, page) {
      demand(caller, 'storage:read')
      const found = await store.storage.bucket(caller.project, checkBucket(bucket))
      if (found === null) throw new AppError('not_found', `There is no bucket "${bucket}".`)
      return store.storage.list({ project: caller.project, bucket, prefix }, page)
    },
    async versions(caller, { bucket, key }) {
      demand(caller, 'storage:read')
      return store.storage.versions(caller.project, checkBucket(bucket), checkKey(key))
    },
    async buckets(caller) {
      demand(caller, 'storage:read')
      return store.storage.buckets(caller.project)
    },
    async delete(caller, ref) {
      demand(caller, 'storage:write')
      checkRef(ref)
      const audit = auditOf(caller, 'object.delete', ref)
      await blobs.release(await store.storage.delete(caller.project, ref, audit))
    },
  }
}

/** Scope `storage:read`. Throws not_found, saying whether it is the bucket, the object or the version. */
export async function findObject(store: Store, caller: Caller, ref: ObjectRef): Promise<StoredObject> {
  demand(caller, 'storage:read')
  checkRef(ref)
  const { project } = caller
  const found = await store.storage.get(project, ref)
  if (found !== null) return found
  if ((await store.storage.bucket(project, ref.bucket)) === null)
    throw new AppError('not_found', `There is no bucket "${ref.bucket}".`)
  throw new AppError('not_found', `There is no object "${s3Url(ref)}".`)
}

export function auditOf(
  { actor }: Caller,
  action: string,
  ref: ObjectRef,
  detail: Record<string, unknown> = {},
): AuditDraft {
  return { actor, action, target: s3Url(ref), detail }
}
