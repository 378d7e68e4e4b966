import type { Digest } from './artifact.ts'
import type { S3Credentials } from './code-source.ts'
import type { BucketFacts, ObjectFacts, ObjectRef } from './storage.ts'
import type { Page, PageRequest } from './store.ts'
import type { Readable } from 'node:stream'

/** Null = what the platform's own environment has. */
type Credentials = S3Credentials | null

/** The operator's S3 server: gets names that are checked and credentials for each call, owns the connections to it, gives what it says.
 *  All throw not_found (bucket, object, version), invalid (credentials refused, or an answer that is not S3's), capacity (the server does not answer,
 *  or breaks off; to be tried again). */
export interface ObjectServer {
  /** Sends `content`, which is `bytes` long, as it comes. What breaks off before its end is not stored; what is left of `content` then is the
   *  caller's, unread and open. Makes no buckets. */
  put(
    credentials: Credentials,
    at: { bucket: string; key: string },
    input: { content: Readable; bytes: number },
  ): Promise<ObjectFacts & { readonly digest: Digest }>
  stat(credentials: Credentials, ref: ObjectRef): Promise<ObjectFacts>
  /** `content` fails with the same errors when it breaks off. */
  open(credentials: Credentials, ref: ObjectRef): Promise<{ object: ObjectFacts; content: Readable }>
  /** Keys come as the server says them, also those that no put here would take. The cursor is the server's own. */
  list(credentials: Credentials, of: { bucket: string; prefix: string }, page: PageRequest): Promise<Page<ObjectFacts>>
  /** Newest first, at most 1,000; where the server knows no versions, the object. Empty when there is none. */
  versions(credentials: Credentials, at: { bucket: string; key: string }): Promise<readonly ObjectFacts[]>
  /** Those that the credentials may see. */
  buckets(credentials: Credentials): Promise<readonly BucketFacts[]>
  delete(credentials: Credentials, ref: ObjectRef): Promise<void>
}
