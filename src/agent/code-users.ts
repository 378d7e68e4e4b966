import type { Digest } from '../domain/artifact.ts'
import type { Version } from '../domain/function.ts'
import { Holds } from '../domain/holds.ts'

type Files = Pick<Version, 'codeDigest' | 'layers'>

/** What the files of a Version come from. */
export function digestsOf({ codeDigest, layers }: Files): readonly Digest[] {
  return [codeDigest, ...layers.map(({ digest }) => digest)]
}

/** Who reads unpacked code and layers on this node now: Instances from before they are bound until they have ended, deploys, images being made.
 *  A Function may be gone long before the last of them. */
export class CodeUsers {
  readonly #holds: Holds<Digest>

  constructor(onUnused: (digest: Digest) => void) {
    this.#holds = new Holds(onUnused)
  }

  has(digest: Digest): boolean {
    return this.#holds.has(digest)
  }

  /** The files of `version` are read until `work` is over. */
  async during<T>(version: Files, work: () => Promise<T>): Promise<T> {
    return this.#holds.during(digestsOf(version), work)
  }
}
