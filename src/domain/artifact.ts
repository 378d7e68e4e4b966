import type { ContainerRoot } from './container-image.ts'
import type { Arch } from './function.ts'
import type { Readable } from 'node:stream'

/** `sha256:` and 64 hex digits. */
export type Digest = `sha256:${string}`

export const digestPattern = /^sha256:[0-9a-f]{64}$/

/** The digest that `text` spells, or undefined. */
export function parseDigest(text: string): Digest | undefined {
  return digestPattern.test(text) ? (text as Digest) : undefined
}

export interface Artifact {
  readonly digest: Digest
  readonly bytes: number
}

export interface PutOptions {
  readonly expect?: Digest
  readonly bytesMax?: number
  readonly isOwned?: boolean
  /** How much is coming, where that is known: room for it is checked before the first byte is read. */
  readonly bytesExpected?: number
  /** Called once, right before the bytes are visible under their digest: from then on `delete` asks whether they are needed.
   *  `isNew`: nothing was there under it. */
  readonly onDigest?: (digest: Digest, isNew: boolean) => void
}

/** What a folder of derived files is known by, and the artifacts that it was made from: it goes with the first of them. */
export interface DerivedFrom {
  readonly key: string
  readonly from: readonly Digest[]
}

/** Something under a digest: the bytes, what was unpacked from them, or what was derived. */
export interface StoredDigest {
  readonly digest: Digest
  /** Epoch ms: when the bytes were last stored; without them, when they were unpacked; 0 when there is but what was derived. */
  readonly writtenAt: number
}

/** Content-addressed blobs and their unpacked trees. Nothing is visible under its digest before it is whole, hashed and fsynced.
 *  Hashing and unpacking run in worker threads: the caller's event loop never waits for them. */
export interface ArtifactStore {
  /** Stores the bytes of `source`. `expect` refuses anything else. `isOwned` says that nobody else holds the pieces `source` delivers: each one's
   *  memory is given back as soon as it is written, instead of 50 MB of it being left to the garbage collector, which stops the event loop.
   *  A failure leaves the rest of `source` to the caller, unread and open.
   *  Throws invalid (digest differs; over `bytesMax`, by default that of code), capacity (disk full, nothing kept). */
  put(source: Readable, options?: PutOptions): Promise<Artifact>
  stat(digest: Digest): Promise<Artifact | null>
  /** The raw bytes. Throws not_found, internal (the blob on disk no longer matches its digest). */
  open(digest: Digest): Promise<Readable>
  /** Folder with the unpacked zip, read-only, made once (single flight).
   *  Throws invalid (naming the entry and the limit: path escape, link, device, duplicate, case clash, bomb, broken zip), not_found. */
  unpack(digest: Digest): Promise<{ folder: string; bytes: number; entries: number }>
  /** The root file system of the image whose archive this is (OCI layout or docker-archive, as tar), read-only, made once (single flight).
   *  Throws invalid (naming what is wrong with which part of it: not an image for `arch`, damaged, a bomb, a way out), not_found. */
  unpackImage(digest: Digest, arch: Arch): Promise<ContainerRoot>
  /** Folder for files derived from artifacts (bytecode caches), by key, filled once by `fill` into a temporary folder, then renamed. */
  derived(of: DerivedFrom, fill: (folder: string) => Promise<void>): Promise<string>
  /** Every digest of which anything is here and that `isMeant` says yes to. */
  list(isMeant: (digest: Digest) => boolean): Promise<readonly StoredDigest[]>
  /** Every stored digest whose content no longer matches, or whose file is missing parts. */
  verify(): Promise<{ digest: Digest; problem: string }[]>
  /** Removes the bytes and what was unpacked and derived from them, unless `isNeeded` says otherwise: no `put` of the same bytes comes in between. */
  delete(digest: Digest, isNeeded?: () => Promise<boolean>): Promise<void>
}
