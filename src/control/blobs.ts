import type { Agent } from '../domain/agent.ts'
import type { Artifact, ArtifactStore, Digest, PutOptions } from '../domain/artifact.ts'
import type { Clock, Timer } from '../domain/clock.ts'
import { Holds } from '../domain/holds.ts'
import type { Logger } from '../domain/logger.ts'
import type { Store } from '../domain/store.ts'
import type { Readable } from 'node:stream'

/** Whoever uploads code has this long to name it in a deploy before it can go with an object of the same content. */
const uploadMs = 3_600_000

interface BlobsParts {
  readonly artifacts: ArtifactStore
  readonly store: Store
  readonly agent: Pick<Agent, 'uses' | 'watch'>
  readonly clock: Clock
  readonly logger: Logger
}

/** Bytes that several things may name: Versions, objects, layers. They leave the disk when the last row that named them does, and nobody is
 *  about to name them, who holds them from before they are there until its row is, or reads what was unpacked from them:
 *
 *    last row gone --held, or read by a node--> looked at again when that is over
 *                  \--uploaded-----------------> looked at again when the hour is over
 *                  \--else---------------------> removed, with all that was unpacked and derived from them
 *
 *  What a platform that was killed left is found by the sweep of the next one. */
export class Blobs {
  readonly #parts: BlobsParts
  readonly #holds = new Holds<Digest>((digest) => this.#lookAgain(digest))
  /** Until when (monotonic) uploads are kept that no row names yet. */
  readonly #uploads = new Map<Digest, number>()
  /** No row named them, but somebody held or read them. */
  readonly #left = new Set<Digest>()
  readonly #stopWatching: () => void
  #expiry: Timer | null = null
  /** The releases that nobody waits for, one after the other. */
  #work: Promise<void> = Promise.resolve()
  #isStopped = false

  constructor(parts: BlobsParts) {
    this.#parts = parts
    this.#stopWatching = parts.agent.watch((event) => {
      if (event.type === 'unused') this.#lookAgain(event.digest)
    })
  }

  /** Does `work` while the bytes stay, whatever stops naming them. */
  async holding<T>(digests: readonly Digest[], work: () => Promise<T>): Promise<T> {
    return this.#holds.during(digests, work)
  }

  /** Stores the bytes and hands them to `use`, which makes a row that names them; they stay until it is through. `isNew`: they were not there before. */
  async put<T>(
    source: Readable,
    options: PutOptions,
    use: (artifact: Artifact, isNew: boolean) => Promise<T>,
  ): Promise<T> {
    let held: Digest | null = null
    let wasNew = false
    const onDigest = (digest: Digest, isNew: boolean): void => {
      held = digest
      wasNew = isNew
      this.#holds.hold(digest)
    }
    try {
      const artifact = await this.#parts.artifacts.put(source, { ...options, onDigest })
      return await use(artifact, wasNew)
    } catch (error) {
      if (held !== null) this.#left.add(held)
      throw error
    } finally {
      if (held !== null) this.#holds.letGo(held)
    }
  }

  /** The caller has just uploaded, or asked for, bytes that it is going to name. */
  uploaded(digest: Digest): void {
    this.#uploads.set(digest, this.#parts.clock.monotonicMs() + uploadMs)
    if (this.#expiry === null) this.#expirySoon()
  }

  /** Rows that named these are gone: removes those that nothing else needs. A failure costs disk space only, and is reported. */
  async release(digests: readonly Digest[]): Promise<void> {
    const { artifacts, logger } = this.#parts
    for (const digest of new Set(digests)) {
      try {
        await artifacts.delete(digest, async () => this.#isNeeded(digest))
      } catch (error) {
        logger.warn('blob.delete.failed', { digest, error: String(error) })
      }
    }
  }

  /** The same, for a caller that does not wait: a tree of many files takes seconds. */
  releaseSoon(digests: readonly Digest[]): void {
    this.#work = this.#after(this.#work, digests)
  }

  /** Releases what nothing names and nobody has stored within the hour: uploads that no deploy came for, and what a platform before this one
   *  had yet to remove. What is younger is released when its hour is over. One after the other; O(what is stored) for the look at it. */
  async sweep(): Promise<void> {
    const { artifacts, store, clock, logger } = this.#parts
    try {
      const named = new Set(await store.storage.named())
      const lost = await artifacts.list((digest) => !named.has(digest))
      const nowMs = clock.nowMs()
      // A clock that was set back since keeps nothing for longer.
      const leftMsOf = (writtenAt: number): number => Math.min(uploadMs, writtenAt + uploadMs - nowMs)
      const old = lost.flatMap(({ digest, writtenAt }) => (leftMsOf(writtenAt) <= 0 ? [digest] : []))
      for (const { digest, writtenAt } of lost)
        if (leftMsOf(writtenAt) > 0 && !this.#uploads.has(digest))
          this.#uploads.set(digest, clock.monotonicMs() + leftMsOf(writtenAt))
      this.#expirySoon()
      if (old.length > 0) logger.info('blob.sweep', { digests: old.length })
      this.releaseSoon(old)
    } catch (error) {
      logger.warn('blob.sweep.failed', { error: String(error) })
    }
    await this.#work
  }

  /** Resolves when nothing is being removed any more; what was to be is left to the next sweep. */
  async stop(): Promise<void> {
    this.#isStopped = true
    this.#expiry?.cancel()
    this.#stopWatching()
    await this.#work
  }

  async #after(work: Promise<void>, digests: readonly Digest[]): Promise<void> {
    await work
    for (const digest of digests) if (!this.#isStopped) await this.release([digest])
  }

  async #isNeeded(digest: Digest): Promise<boolean> {
    const { agent, clock, store } = this.#parts
    // Before anybody is asked: what they say may be over before it is here.
    this.#left.add(digest)
    // Who comes to hold them from here on finds them gone: it has yet to look, or to put, which waits for the deletion.
    if (this.#holds.has(digest)) return true
    const isUploaded = (this.#uploads.get(digest) ?? 0) > clock.monotonicMs()
    const isNamed = isUploaded || (await store.storage.names(digest))
    if (!isNamed && (await agent.uses(digest))) return true
    // Who gives up the name, or the hour that is over, has it released then.
    this.#left.delete(digest)
    return isNamed
  }

  /** Nobody holds these bytes, or reads them, any more. */
  #lookAgain(digest: Digest): void {
    if (this.#left.has(digest)) this.releaseSoon([digest])
  }

  /** For uploads whose time is over. */
  #expirySoon(): void {
    this.#expiry?.cancel()
    this.#expiry = null
    if (this.#uploads.size === 0 || this.#isStopped) return
    const { clock } = this.#parts
    const nextMs = [...this.#uploads.values()].reduce((next, untilMs) => Math.min(next, untilMs))
    this.#expiry = clock.schedule(nextMs - clock.monotonicMs(), () => {
      this.#expiry = null
      const nowMs = clock.monotonicMs()
      const over = [...this.#uploads].flatMap(([digest, untilMs]) => (untilMs <= nowMs ? [digest] : []))
      for (const digest of over) this.#uploads.delete(digest)
      this.releaseSoon(over)
      this.#expirySoon()
    })
  }
}
