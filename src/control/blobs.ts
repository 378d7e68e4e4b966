import type { Artifact, ArtifactStore, Digest, PutOptions } from '../domain/artifact.ts'
import type { Clock } from '../domain/clock.ts'
import type { Logger } from '../domain/logger.ts'
import type { Store } from '../domain/store.ts'
import type { Readable } from 'node:stream'

/** Whoever uploads code has this long to name it in a deploy before it can go with an object of the same content. */
const uploadMs = 3_600_000

/** Bytes that several things may name: Versions, objects, layers. They leave the disk when the last row that named them does, and nobody is
 *  about to name them: whoever is, holds them from before they are there until its row is. */
export class Blobs {
  readonly #artifacts: ArtifactStore
  readonly #store: Store
  readonly #clock: Clock
  readonly #logger: Logger
  readonly #holds = new Map<Digest, number>()
  /** Until when uploads are kept that no row names yet; in order of time. */
  readonly #uploads = new Map<Digest, number>()

  constructor(parts: { artifacts: ArtifactStore; store: Store; clock: Clock; logger: Logger }) {
    this.#artifacts = parts.artifacts
    this.#store = parts.store
    this.#clock = parts.clock
    this.#logger = parts.logger
  }

  /** Does `work` while the bytes stay, whatever stops naming them. */
  async holding<T>(digests: readonly Digest[], work: () => Promise<T>): Promise<T> {
    for (const digest of digests) this.#hold(digest)
    try {
      return await work()
    } finally {
      for (const digest of digests) this.#letGo(digest)
    }
  }

  /** Stores the bytes and hands them to `use`, which makes a row that names them; they stay until it is through. */
  async put<T>(source: Readable, options: PutOptions, use: (artifact: Artifact) => Promise<T>): Promise<T> {
    let held: Digest | null = null
    const onDigest = (digest: Digest): void => {
      held = digest
      this.#hold(digest)
    }
    try {
      return await use(await this.#artifacts.put(source, { ...options, onDigest }))
    } finally {
      if (held !== null) this.#letGo(held)
    }
  }

  /** The caller has just uploaded, or asked for, bytes that it is going to name. */
  uploaded(digest: Digest): void {
    const nowMs = this.#clock.nowMs()
    for (const [old, untilMs] of this.#uploads) {
      if (untilMs > nowMs) break
      this.#uploads.delete(old)
    }
    this.#uploads.delete(digest)
    this.#uploads.set(digest, nowMs + uploadMs)
  }

  /** Rows that named these are gone: removes those that nothing else needs. A failure costs disk space only, and is reported. */
  async release(digests: readonly Digest[]): Promise<void> {
    for (const digest of new Set(digests)) {
      try {
        await this.#artifacts.delete(digest, async () => this.#isNeeded(digest))
      } catch (error) {
        this.#logger.warn('blob.delete.failed', { digest, error: String(error) })
      }
    }
  }

  async #isNeeded(digest: Digest): Promise<boolean> {
    // Who comes to hold them from here on finds them gone: it has yet to look, or to put, which waits for the deletion.
    if (this.#holds.has(digest) || (this.#uploads.get(digest) ?? 0) > this.#clock.nowMs()) return true
    return this.#store.storage.names(digest)
  }

  #hold(digest: Digest): void {
    this.#holds.set(digest, (this.#holds.get(digest) ?? 0) + 1)
  }

  #letGo(digest: Digest): void {
    const count = (this.#holds.get(digest) ?? 0) - 1
    if (count > 0) this.#holds.set(digest, count)
    else this.#holds.delete(digest)
  }
}
