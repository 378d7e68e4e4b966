import type { ArtifactStore, Digest } from '../domain/artifact.ts'
import type { Origins, S3Credentials } from '../domain/code-source.ts'
import type { Caller, Control } from '../domain/control.ts'
import { limits } from '../domain/limits.ts'
import type { ObjectServer } from '../domain/object-server.ts'
import { checkBucket, checkKey, checkRef } from '../domain/storage.ts'
import type { AuditDraft, Store } from '../domain/store.ts'
import { refuseTooLarge } from '../domain/too-large.ts'
import type { Blobs } from './blobs.ts'
import type { OutsideSecrets } from './outside-secrets.ts'
import { auditOf } from './own-storage.ts'
import { demand } from './scopes.ts'
import type { Readable } from 'node:stream'

export interface ServerStorageParts {
  readonly store: Store
  readonly artifacts: ArtifactStore
  readonly blobs: Blobs
  readonly secrets: OutsideSecrets
  readonly origins: Pick<Origins, 's3'>
  readonly objects: ObjectServer
}

const bytesMax = limits.storage.objectBytesMax

/** Storage over the operator's S3 server: says who may, signs in the project's name, keeps what is changed in the audit log; objects are the server's. */
export function serverStorage(parts: ServerStorageParts): Control['storage'] {
  const { store, objects, origins } = parts
  const signed = async (caller: Caller): Promise<S3Credentials | null> =>
    parts.secrets.s3(caller, { ...origins.s3, field: 's3Secret' })
  // After what it tells of, not with it: what the server did is done, whatever becomes of this disk.
  const record = async (caller: Caller, entry: AuditDraft): Promise<void> => store.audit.add(caller.project, entry)
  return {
    async put(caller, { bucket, key }, input) {
      demand(caller, 'storage:write')
      const at = { bucket: checkBucket(bucket), key: checkKey(key) }
      if ((input.bytesExpected ?? 0) > bytesMax) throw refuseTooLarge(bytesMax)
      const credentials = await signed(caller)
      const stored = await withLength(parts, input, async (known) => objects.put(credentials, at, known))
      const { versionId, digest, bytes } = stored
      const detail = { digest, bytes, endpoint: origins.s3.endpoint }
      await record(caller, auditOf(caller, 'object.put', { ...at, versionId }, detail))
      return stored
    },
    async stat(caller, ref) {
      demand(caller, 'storage:read')
      return objects.stat(await signed(caller), checkRef(ref))
    },
    async open(caller, ref) {
      demand(caller, 'storage:read')
      return objects.open(await signed(caller), checkRef(ref))
    },
    async list(caller, { bucket, prefix }, page) {
      demand(caller, 'storage:read')
      return objects.list(await signed(caller), { bucket: checkBucket(bucket), prefix }, page)
    },
    async versions(caller, { bucket, key }) {
      demand(caller, 'storage:read')
      return objects.versions(await signed(caller), { bucket: checkBucket(bucket), key: checkKey(key) })
    },
    async buckets(caller) {
      demand(caller, 'storage:read')
      return objects.buckets(await signed(caller))
    },
    async delete(caller, ref) {
      demand(caller, 'storage:write')
      await objects.delete(await signed(caller), checkRef(ref))
      await record(caller, auditOf(caller, 'object.delete', ref, { endpoint: origins.s3.endpoint }))
    },
  }
}

interface Upload {
  readonly source: Readable
  readonly bytesExpected: number | null
}

/** S3 wants to know ahead how much is coming: an upload that does not say lies on the disk until it is sent on. */
async function withLength<T>(
  { artifacts, blobs }: ServerStorageParts,
  { source, bytesExpected }: Upload,
  send: (known: { content: Readable; bytes: number }) => Promise<T>,
): Promise<T> {
  if (bytesExpected !== null) return send({ content: source, bytes: bytesExpected })
  let kept: Digest | null = null
  try {
    return await blobs.put(source, { isOwned: true, bytesMax }, async ({ digest, bytes }) => {
      kept = digest
      const content = await artifacts.open(digest)
      try {
        return await send({ content, bytes })
      } finally {
        content.destroy()
      }
    })
  } finally {
    if (kept !== null) await blobs.release([kept])
  }
}
