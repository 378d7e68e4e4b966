import type { Digest } from '../domain/artifact.ts'
import type { CodeTrees, Image, StoredImage } from '../domain/image.ts'
import { ImageThread } from './image-thread.ts'
import { existsSync, mkdirSync, readdirSync, rmSync, statSync } from 'node:fs'
import { utimes } from 'node:fs/promises'
import path from 'node:path'

interface Known {
  readonly image: Promise<Image>
  usedMs: number
}

/** How far the time of last use on disk may lag behind. */
const touchEveryMs = 60 * 60_000

/** Code images in a folder of their own: by digest on disk, by the folders they were made from in memory. */
export class CodeImages {
  readonly #folder: string
  readonly #thread = new ImageThread()
  readonly #known = new Map<string, Known>()

  constructor(folder: string) {
    this.#folder = folder
    rmSync(path.join(folder, 'tmp'), { recursive: true, force: true })
  }

  get(code: CodeTrees): Promise<Image> {
    return this.#get(JSON.stringify([code.codeFolder, code.cacheFolder, ...code.layerFolders]), code)
  }

  placeholder(): Promise<Image> {
    return this.#get('', null)
  }

  list(): StoredImage[] {
    if (!existsSync(this.#folder)) return []
    return readdirSync(this.#folder).flatMap((name) => {
      const hex = /^([0-9a-f]{64})\.erofs$/.exec(name)?.[1]
      const file = path.join(this.#folder, name)
      const found = statSync(file, { throwIfNoEntry: false })
      if (hex === undefined || found === undefined) return []
      const digest: Digest = `sha256:${hex}`
      const bytes = found.blocks * 512
      return [{ kind: 'code', name: '', digest, path: file, bytes, builtAt: found.mtimeMs, isCurrent: true }]
    })
  }

  /** Removes what nobody asked for in the last `unusedMs`. A VM that has such a drive open keeps it. */
  prune(unusedMs: number): StoredImage[] {
    const old = this.list().filter(({ builtAt }) => builtAt < Date.now() - Math.max(unusedMs, touchEveryMs))
    for (const { path: file } of old) rmSync(file, { force: true })
    this.#known.clear()
    return old
  }

  async close(): Promise<void> {
    await this.#thread.close()
  }

  #get(key: string, code: CodeTrees | null): Promise<Image> {
    const known = this.#known.get(key)
    if (known !== undefined) {
      this.#touch(known)
      return known.image
    }
    mkdirSync(this.#folder, { recursive: true, mode: 0o700 })
    const image = this.#thread.run('code', { code, folder: this.#folder })
    const entry: Known = { image, usedMs: 0 }
    this.#known.set(key, entry)
    image.then(
      () => this.#touch(entry),
      () => this.#known.delete(key),
    )
    return image
  }

  /** The file's time says when it was last asked for. One that cannot be set makes a prune remove more than it must. */
  #touch(entry: Known): void {
    const now = Date.now()
    if (now - entry.usedMs < touchEveryMs) return
    entry.usedMs = now
    void entry.image.then(({ path: file }) => utimes(file, new Date(now), new Date(now))).catch(() => undefined)
  }
}
