import type { Digest } from './artifact.ts'
import type { Arch } from './function.ts'
import type { ImageReference } from './image-reference.ts'
import type { Readable } from 'node:stream'

/** Where the code of a new Version is: bytes already uploaded, an object of a bucket, a file on the web, or an image in a registry. */
export type CodeSource =
  | { readonly artifact: Digest }
  | {
      /** `s3://bucket/key[?versionId=..]`. */
      readonly s3: string
      /** Another S3 than the operator's; then `secret` says how to sign. */
      readonly endpoint?: string
      readonly region?: string
      /** Secret of the project that holds `accessKeyId:secretAccessKey[:sessionToken]`. */
      readonly secret?: string
      /** Hex SHA-256 that the bytes must have. */
      readonly sha256?: string
    }
  | { readonly https: string; readonly sha256: string }
  | {
      /** `[HOST[:PORT]/]REPOSITORY[:TAG][@sha256:DIGEST]`, as docker has it. */
      readonly image: string
      /** Secret of the project that holds `user:password`. */
      readonly secret?: string
    }

/** What the bytes are to be: an archive of code, or a container image, which may be larger. */
export type SourceKind = 'code' | 'image'

/** Where the code of a Version came from, as it was then: nothing is looked up there again. */
export interface CodeOrigin {
  /** `storage`: the platform's own buckets; `registry`: an image. */
  readonly kind: 'storage' | 's3' | 'https' | 'registry'
  /** Without what could be a credential: an https address loses its query. Of an image: in full, with the digest of its manifest. */
  readonly source: string
  readonly endpoint: string | null
  /** Of an image: the digest of its manifest. */
  readonly etag: string | null
  readonly versionId: string | null
  readonly fetchedAt: number
}

export interface S3Credentials {
  readonly accessKeyId: string
  readonly secretAccessKey: string
  readonly sessionToken?: string
}

export interface RegistryCredentials {
  readonly user: string
  readonly password: string
}

/** What to fetch, parsed. */
export type OriginAddress =
  | {
      readonly kind: 's3'
      /** As errors and views show it. */
      readonly source: string
      readonly bucket: string
      readonly key: string
      readonly versionId: string | null
      readonly endpoint: string
      readonly region: string
      /** Null = what the platform's own environment has. */
      readonly credentials: S3Credentials | null
      /** A caller named it: only public addresses, unless the operator allows others. */
      readonly isForeign: boolean
    }
  | { readonly kind: 'https'; readonly source: string; readonly url: string }
  | {
      readonly kind: 'registry'
      readonly source: string
      readonly reference: ImageReference
      /** What an image of several platforms is wanted for. */
      readonly arch: Arch
      readonly credentials: RegistryCredentials | null
    }

/** Content on its way. `content` fails with the AppErrors that `open` throws. */
export interface OriginContent {
  readonly content: Readable
  /** Null where the origin does not say. */
  readonly bytes: number | null
  readonly etag: string | null
  readonly versionId: string | null
}

/** The world outside that code is fetched from. */
export interface Origins {
  /** What `s3://` means without an endpoint of its own; `endpoint` null = the platform's own buckets. */
  readonly s3: {
    readonly endpoint: string | null
    readonly region: string
    /** Name of the secret to sign with when the caller names none; null = the platform's own credentials. */
    readonly secret: string | null
    /** The platform's own credentials are not for everybody. */
    readonly mustHaveSecret: boolean
  }
  /** Resolves at the first byte. What breaks off goes on where it was, as long as the object is the same; what does not answer is tried again
   *  for a bounded time.
   *  Throws invalid (no such bucket, object or version; credentials refused; address closed), conflict (it changed meanwhile),
   *  capacity (the origin does not answer, or breaks off again and again). */
  open(address: OriginAddress): Promise<OriginContent>
}
