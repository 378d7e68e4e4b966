import type { Digest } from '../domain/artifact.ts'
import { ignoreMissing } from '../domain/is-missing.ts'
import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'

/** Where what is known by a digest lies in the store's folder, and which digests are there. */
export class Layout {
  readonly #folder: string

  constructor(folder: string) {
    this.#folder = folder
  }

  get temporary(): string {
    return join(this.#folder, 'tmp')
  }

  get derived(): string {
    return join(this.#folder, 'derived')
  }

  blob(digest: Digest): string {
    const hex = hexOf(digest)
    return join(this.#folder, 'blobs/sha256', hex.slice(0, 2), hex)
  }

  tree(digest: Digest, kind: 'trees' | 'roots' = 'trees'): string {
    return join(this.#folder, kind, hexOf(digest))
  }

  async blobs(): Promise<Digest[]> {
    const found = await readdir(join(this.#folder, 'blobs/sha256'), { recursive: true })
    return found.flatMap((path) => toDigest(path.slice(path.indexOf('/') + 1)))
  }

  async trees(kind: 'trees' | 'roots'): Promise<Digest[]> {
    return (await readdir(join(this.#folder, kind))).flatMap(toDigest)
  }

  /** Epoch ms: of the bytes, or without them of what was unpacked; null when neither is there. */
  async writtenAt(digest: Digest): Promise<number | null> {
    for (const path of [this.blob(digest), this.tree(digest), this.tree(digest, 'roots')]) {
      const found = await stat(path).catch(ignoreMissing)
      if (found !== undefined) return found.mtimeMs
    }
    return null
  }
}

export function hexOf(digest: Digest): string {
  return digest.slice('sha256:'.length)
}

function toDigest(hex: string): Digest[] {
  return /^[0-9a-f]{64}$/.test(hex) ? [`sha256:${hex}`] : []
}
