import { mkdirSync, readdirSync, readlinkSync, renameSync, rmSync, symlinkSync } from 'node:fs'
import path from 'node:path'
import { isMissing } from '../domain/is-missing.ts'

/** Who owns which image, as links in a folder: `owners/<name> -> ../<hex>.erofs`. Read when first asked; one owner has one image. */
export class ImageOwners {
  readonly #folder: string
  #read: Map<string, string> | null = null

  constructor(folder: string) {
    this.#folder = folder
  }

  list(): readonly string[] {
    return [...this.#byOwner.keys()]
  }

  /** Every image that has an owner. */
  images(): ReadonlySet<string> {
    return new Set(this.#byOwner.values())
  }

  /** Anybody owns the image. O(owners), when one is dropped. */
  has(hex: string): boolean {
    for (const owned of this.#byOwner.values()) if (owned === hex) return true
    return false
  }

  /** `owner` has the image from now on; returns the one it had, if that was another. */
  take(owner: string, hex: string): string | null {
    const before = this.#byOwner.get(owner) ?? null
    if (before === hex) return null
    mkdirSync(this.#folder, { recursive: true, mode: 0o700 })
    const link = this.#linkOf(owner)
    const draft = `${link}.new`
    rmSync(draft, { force: true })
    symlinkSync(path.join('..', `${hex}.erofs`), draft)
    renameSync(draft, link)
    this.#byOwner.set(owner, hex)
    return before
  }

  /** Returns the image that it had. */
  drop(owner: string): string | null {
    const hex = this.#byOwner.get(owner) ?? null
    rmSync(this.#linkOf(owner), { force: true })
    this.#byOwner.delete(owner)
    return hex
  }

  get #byOwner(): Map<string, string> {
    this.#read ??= new Map(this.#links())
    return this.#read
  }

  *#links(): Generator<[string, string]> {
    for (const name of this.#names()) {
      const hex = /^\.\.\/([0-9a-f]{64})\.erofs$/.exec(readlinkSync(path.join(this.#folder, name)))?.[1]
      if (hex !== undefined && !name.endsWith('.new')) yield [decodeURIComponent(name), hex]
    }
  }

  #names(): readonly string[] {
    try {
      return readdirSync(this.#folder)
    } catch (error) {
      if (isMissing(error)) return []
      throw error
    }
  }

  /** A Version's name has a slash and a colon. */
  #linkOf(owner: string): string {
    return path.join(this.#folder, encodeURIComponent(owner))
  }
}
