import type { Digest } from '../domain/artifact.ts'
import type { Version } from '../domain/function.ts'

type Files = Pick<Version, 'codeDigest' | 'layers'>

/** What the files of a Version come from. */
export function digestsOf({ codeDigest, layers }: Files): readonly Digest[] {
  return [codeDigest, ...layers.map(({ digest }) => digest)]
}

/** Who reads unpacked code and layers on this node now: Instances from before they are bound until they have ended, deploys, images being made.
 *  A Function may be gone long before the last of them. */
export class CodeUsers {
  readonly #counts = new Map<Digest, number>()
  readonly #onUnused: (digest: Digest) => void

  constructor(onUnused: (digest: Digest) => void) {
    this.#onUnused = onUnused
  }

  has(digest: Digest): boolean {
    return this.#counts.has(digest)
  }

  /** The files of `version` are read until `work` is over. */
  async during<T>(version: Files, work: () => Promise<T>): Promise<T> {
    const digests = digestsOf(version)
    for (const digest of digests) this.#counts.set(digest, (this.#counts.get(digest) ?? 0) + 1)
    try {
      return await work()
    } finally {
      for (const digest of digests) this.#leave(digest)
    }
  }

  #leave(digest: Digest): void {
    const count = (this.#counts.get(digest) ?? 0) - 1
    if (count > 0) return void this.#counts.set(digest, count)
    this.#counts.delete(digest)
    this.#onUnused(digest)
  }
}
