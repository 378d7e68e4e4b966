import type { Control } from '../domain/control.ts'
import type { ObjectServer } from '../domain/object-server.ts'
import { ownStorage, type OwnStorageParts } from './own-storage.ts'
import { serverStorage, type ServerStorageParts } from './server-storage.ts'

type StorageParts = OwnStorageParts &
  Omit<ServerStorageParts, 'objects'> & {
    /** What `s3://` means here; null = the platform's own buckets. */
    readonly objects: ObjectServer | null
  }

/** What `s3://` addresses name, for those who store and fetch: one address means one thing. */
export function storageApi({ objects, ...parts }: StorageParts): Control['storage'] {
  return objects === null ? ownStorage(parts) : serverStorage({ ...parts, objects })
}
