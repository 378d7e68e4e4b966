import { createHash, randomUUID } from 'node:crypto'
import { mkdir, open, readdir, rename, rm, stat, utimes, type FileHandle } from 'node:fs/promises'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { ignoreMissing } from '../domain/is-missing.ts'

export interface BuildCacheOptions {
  readonly folder: string
  /** All entries together: those used longest ago go first. */
  readonly bytesMax: number
}

/** One entry: four to five times as much once it is taken apart, in the memory of a build. */
export const cacheBytesMax = 256 * 1024 * 1024

/** What an entry is for. Nobody is ever given one of another `owner` or `toolchain`. */
export interface CacheKey {
  readonly owner: string
  readonly toolchain: string
  readonly lock: string
}

/** An entry that is open: it may be evicted meanwhile. */
export interface CacheEntry {
  readonly bytes: number
  /** Its lock is the one asked for. */
  readonly isExact: boolean
  readonly content: Readable
  /** It turned out to be of no use. */
  forget(): Promise<void>
}

/** An entry on its way in. */
export interface CacheDraft {
  /** Resolves when `chunk` is written, or is not wanted any more: a build never fails for it. */
  write(chunk: Uint8Array): Promise<void>
  /** Puts it in place of the entry of its key; resolves to its size, 0 when it was larger than `cacheBytesMax`. Throws what `write` met. */
  commit(): Promise<number>
  discard(): Promise<void>
}

const draftMsMax = 3_600_000
const suffix = '.pack'

/** What builds leave for builds: files by key, whose content nobody here looks into. Several processes may share the folder: entries come by rename and go by unlink,
 *  and readers have them open. Nothing is synced: an entry that a power cut broke does not decompress, and is forgotten then. */
export class BuildCache {
  readonly #options: BuildCacheOptions

  constructor(options: BuildCacheOptions) {
    this.#options = options
  }

  /** Null when there is none. */
  async open(key: CacheKey): Promise<CacheEntry | null> {
    return this.#open(nameOf(key), true)
  }

  /** The entry of `key`, else the newest with another lock; null when there is none. */
  async openNearest(key: CacheKey): Promise<CacheEntry | null> {
    const exact = await this.open(key)
    if (exact !== null) return exact
    for (const { name } of (await this.#list()).toReversed()) {
      const entry = name.startsWith(prefixOf(key)) ? await this.#open(name, false) : null
      if (entry !== null) return entry
    }
    return null
  }

  async draft(key: CacheKey): Promise<CacheDraft> {
    const { folder } = this.#options
    await mkdir(folder, { recursive: true, mode: 0o700 })
    const file = join(folder, `${randomUUID()}.draft`)
    const handle = await open(file, 'wx', 0o600)
    let bytes = 0
    let failure: unknown = null
    let writing: Promise<unknown> = Promise.resolve()
    const discard = async (): Promise<void> => {
      await handle.close()
      await rm(file, { force: true })
    }
    return {
      write: async (chunk) => {
        bytes += chunk.length
        if (bytes > cacheBytesMax || failure !== null) return
        // One after the other: pieces come before the last one is written.
        writing = writing.then(async () => handle.appendFile(chunk)).catch((error: unknown) => (failure = error))
        await writing
      },
      commit: async () => {
        if (failure === null && bytes <= cacheBytesMax) {
          await handle.close()
          await rename(file, join(folder, nameOf(key)))
          await this.#evict()
          return bytes
        }
        await discard()
        if (failure !== null) throw failure
        // It has grown with each build: the next one starts afresh.
        await rm(join(folder, nameOf(key)), { force: true })
        return 0
      },
      discard,
    }
  }

  async #open(name: string, isExact: boolean): Promise<CacheEntry | null> {
    const file = join(this.#options.folder, name)
    const handle = await open(file).catch(ignoreMissing)
    if (handle === undefined) return null
    const now = new Date()
    await utimes(file, now, now).catch(ignoreMissing)
    return entryOf(handle, { file, isExact })
  }

  async #evict(): Promise<void> {
    const { folder, bytesMax } = this.#options
    const entries = await this.#list()
    let sum = entries.reduce((all, { bytes }) => all + bytes, 0)
    for (const { name, bytes } of entries) {
      if (sum <= bytesMax) return
      await rm(join(folder, name), { force: true })
      sum -= bytes
    }
  }

  /** Used longest ago first. Drafts of whoever was killed go by the way. */
  async #list(): Promise<{ name: string; bytes: number; usedMs: number }[]> {
    const { folder } = this.#options
    const found = []
    for (const name of (await readdir(folder).catch(ignoreMissing)) ?? []) {
      const facts = await stat(join(folder, name)).catch(ignoreMissing)
      if (facts === undefined) continue
      if (name.endsWith(suffix)) found.push({ name, bytes: facts.size, usedMs: facts.mtimeMs })
      else if (facts.mtimeMs < Date.now() - draftMsMax) await rm(join(folder, name), { force: true })
    }
    return found.toSorted((a, b) => a.usedMs - b.usedMs)
  }
}

async function entryOf(handle: FileHandle, { file, isExact }: { file: string; isExact: boolean }): Promise<CacheEntry> {
  const { size, ino } = await handle.stat()
  const forget = async (): Promise<void> => {
    // Not the one that somebody else put there meanwhile.
    if ((await stat(file).catch(ignoreMissing))?.ino === ino) await rm(file, { force: true })
  }
  return { bytes: size, isExact, content: handle.createReadStream(), forget }
}

function prefixOf({ owner, toolchain }: CacheKey): string {
  return `${hashOf(owner)}-${hashOf(toolchain)}-`
}

function nameOf(key: CacheKey): string {
  return `${prefixOf(key)}${hashOf(key.lock)}${suffix}`
}

function hashOf(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 32)
}
