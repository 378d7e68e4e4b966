import type { Digest } from '../domain/artifact.ts'
import type { CodeTrees, Image, StoredImage } from '../domain/image.ts'
import { ImageThread } from './image-thread.ts'
import { ImageOwners } from './image-owners.ts'
import { existsSync, mkdirSync, readdirSync, rmSync, statSync } from 'node:fs'
import path from 'node:path'

/** Owner of the image without code; no Version can have this name. */
const placeholderOwner = 'placeholder'

/** Code images in a folder of their own: by digest on disk, by the folders they were made from in memory, and kept as long as somebody owns them. */
export class CodeImages {
  readonly #folder: string
  readonly #thread = new ImageThread()
  readonly #known = new Map<string, Promise<Image>>()
  readonly #owners: ImageOwners

  constructor(folder: string) {
    this.#folder = folder
    this.#owners = new ImageOwners(path.join(folder, 'owners'))
    rmSync(path.join(folder, 'tmp'), { recursive: true, force: true })
  }

  async get(code: CodeTrees, owner: string): Promise<Image> {
    const key = JSON.stringify([code.codeFolder, code.cacheFolder, ...code.layerFolders])
    return this.#get(key, { code, owner })
  }

  async placeholder(): Promise<Image> {
    return this.#get('', { code: null, owner: placeholderOwner })
  }

  owners(): readonly string[] {
    return this.#owners.list().filter((owner) => owner !== placeholderOwner)
  }

  /** Removes what `owner` alone had. A VM that has such a drive open keeps it. */
  forget(owner: string): void {
    const hex = this.#owners.drop(owner)
    if (hex !== null && !this.#owners.has(hex)) this.#remove(hex)
  }

  list(): StoredImage[] {
    if (!existsSync(this.#folder)) return []
    const owned = this.#owners.images()
    return readdirSync(this.#folder).flatMap((name) => {
      const hex = /^([0-9a-f]{64})\.erofs$/.exec(name)?.[1]
      const file = path.join(this.#folder, name)
      const found = statSync(file, { throwIfNoEntry: false })
      if (hex === undefined || found === undefined) return []
      const digest: Digest = `sha256:${hex}`
      const [bytes, isCurrent] = [found.blocks * 512, owned.has(hex)]
      return [{ kind: 'code', name: '', digest, path: file, bytes, builtAt: found.mtimeMs, isCurrent }]
    })
  }

  /** Removes what nobody owns: left by a platform that was killed in the middle. */
  prune(): StoredImage[] {
    const lost = this.list().filter(({ isCurrent }) => !isCurrent)
    for (const { digest } of lost) this.#remove(digest.slice('sha256:'.length))
    return lost
  }

  async close(): Promise<void> {
    await this.#thread.close()
  }

  async #get(key: string, { code, owner }: { code: CodeTrees | null; owner: string }): Promise<Image> {
    for (;;) {
      const image = await this.#made(key, code)
      const hex = image.digest.slice('sha256:'.length)
      // Its last owner may have gone since: then it is made again.
      if (existsSync(image.path)) {
        const before = this.#owners.take(owner, hex)
        if (before !== null && !this.#owners.has(before)) this.#remove(before)
        return image
      }
      this.#known.delete(key)
    }
  }

  #made(key: string, code: CodeTrees | null): Promise<Image> {
    const known = this.#known.get(key)
    if (known !== undefined) return known
    mkdirSync(this.#folder, { recursive: true, mode: 0o700 })
    const image = this.#thread.run('code', { code, folder: this.#folder })
    this.#known.set(key, image)
    image.catch(() => this.#known.delete(key))
    return image
  }

  #remove(hex: string): void {
    rmSync(path.join(this.#folder, `${hex}.erofs`), { force: true })
  }
}
