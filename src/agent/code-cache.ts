import type { ArtifactStore, DerivedFrom } from '../domain/artifact.ts'
import { digestsOf, type CodeUsers } from './code-users.ts'
import { unpackTrees, type Trees } from './code-trees.ts'
import { versionKey, type Version, type VersionRef } from '../domain/function.ts'

/** A Version's files on this node. */
export interface Code extends Trees {
  /** All of it as erofs; null where no microVM may run it. */
  readonly image: string | null
}

/** Where bytecode of `version` is kept: it depends on the code, on what that imports from layers, and on the very interpreter. */
export function bytecodeOf(version: Version): DerivedFrom {
  const key = ['bytecode', version.codeDigest, version.runtimeDigest, ...layerDigests(version)].join(':')
  return { key, from: digestsOf(version) }
}

function layerDigests({ layers }: Version): readonly string[] {
  return layers.map(({ digest }) => digest)
}

/** The code image of a Version that a microVM may run, else null. */
export type ImageOf = (version: Version, trees: Trees) => Promise<string | null>

class NotMade extends Error {}

/** Unpacked code and bytecode by Version: known ones without a promise, others through the artifact store. */
export class CodeCache {
  readonly #artifacts: ArtifactStore
  readonly #users: CodeUsers
  readonly #imageOf: ImageOf
  readonly #known = new Map<string, Code | Promise<Code>>()

  constructor(parts: { artifacts: ArtifactStore; users: CodeUsers; imageOf: ImageOf }) {
    this.#artifacts = parts.artifacts
    this.#users = parts.users
    this.#imageOf = parts.imageOf
  }

  get(version: Version): Code | Promise<Code> {
    const key = cacheKey(version)
    const known = this.#known.get(key)
    if (known !== undefined) return known
    const finding = this.#users
      .during(version, async () => this.#find(version))
      .then(
        (code) => {
          this.#known.set(key, code)
          return code
        },
        (error: unknown) => {
          this.#known.delete(key)
          throw error
        },
      )
    this.#known.set(key, finding)
    return finding
  }

  set(version: Version, code: Code): void {
    this.#known.set(cacheKey(version), code)
  }

  /** Whatever it holds under the name of this Version: a Function that was made anew gives out its numbers again. */
  forget(version: VersionRef): void {
    const own = `${versionKey(version)} `
    for (const key of this.#known.keys()) if (key.startsWith(own)) this.#known.delete(key)
  }

  async #find(version: Version): Promise<Code> {
    const { folder, layerFolders, container } = await unpackTrees(this.#artifacts, version)
    const trees = { folder, layerFolders, container, cacheFolder: await this.#existingCache(version) }
    return { ...trees, image: await this.#imageOf(version, trees) }
  }

  async #existingCache(version: Version): Promise<string | null> {
    try {
      return await this.#artifacts.derived(bytecodeOf(version), () => Promise.reject(new NotMade()))
    } catch {
      // Not made at deploy, or not readable any more: the code runs without it, only slower.
      return null
    }
  }
}

function cacheKey(version: Version): string {
  return [versionKey(version), version.codeDigest, version.runtimeDigest, ...layerDigests(version)].join(' ')
}
