import type { Digest, DerivedFrom } from '../domain/artifact.ts'
import { ignoreMissing } from '../domain/is-missing.ts'
import { SingleFlight } from '../domain/single-flight.ts'
import { exists, explainDiskError } from './durable.ts'
import { readSidecar, sidecarOf } from './sidecar.ts'
import { createHash, randomUUID } from 'node:crypto'
import { mkdir, readdir, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

export interface DerivedFoldersOptions {
  readonly folder: string
  /** Where something lies that is under way, or on its way out. */
  readonly temporary: string
  /** Brings a folder and all in it to the disk. */
  readonly sync: (folder: string) => Promise<unknown>
  /** Makes `draft` visible as `target`. */
  readonly publish: (draft: string, target: string) => Promise<void>
}

/** Folders of files that were made from artifacts, by the hash of a key; `<hash>.json` beside each names what it was made from. */
export class DerivedFolders {
  readonly #options: DerivedFoldersOptions
  readonly #making = new SingleFlight<string>()
  /** Sources by hash; read when first asked, and kept true from then on. */
  #sources: Promise<Map<string, readonly Digest[]>> | null = null

  constructor(options: DerivedFoldersOptions) {
    this.#options = options
  }

  get({ key, from }: DerivedFrom, fill: (folder: string) => Promise<void>): Promise<string> {
    return this.#making.run(key, async () => {
      const hash = createHash('sha256').update(key).digest('hex')
      const target = this.#target(hash)
      if (await exists(target)) {
        // One that was made before sources were told, or of which that is damaged, goes with them from now on.
        if ((await this.#sourcesOf(hash)) === null) await this.#tell(hash, from)
        return target
      }
      const draft = join(this.#options.temporary, randomUUID())
      try {
        await mkdir(draft)
        await fill(draft)
        await this.#options.sync(draft)
        await this.#tell(hash, from)
        await this.#options.publish(draft, target)
        return target
      } catch (error) {
        await rm(draft, { recursive: true, force: true })
        throw explainDiskError(error)
      }
    })
  }

  /** Every digest that anything here was made from. */
  async sources(): Promise<ReadonlySet<Digest>> {
    return new Set([...(await this.#known()).values()].flat())
  }

  /** Moves what was made from `digest` to `doomed`. O(folders here), in memory. */
  async remove(digest: Digest, doomed: string): Promise<void> {
    const known = await this.#known()
    for (const [hash, from] of known) {
      if (!from.includes(digest)) continue
      const target = this.#target(hash)
      await rename(target, join(doomed, randomUUID())).catch(ignoreMissing)
      await rm(sidecarOf(target), { force: true })
      known.delete(hash)
    }
  }

  async #tell(hash: string, from: readonly Digest[]): Promise<void> {
    const { temporary, publish } = this.#options
    const draft = join(temporary, randomUUID())
    await writeFile(draft, JSON.stringify({ from }), { flush: true })
    await publish(draft, sidecarOf(this.#target(hash)))
    if (this.#sources !== null) (await this.#sources).set(hash, from)
  }

  #known(): Promise<Map<string, readonly Digest[]>> {
    this.#sources ??= this.#read().catch((error: unknown) => {
      this.#sources = null
      throw error
    })
    return this.#sources
  }

  async #read(): Promise<Map<string, readonly Digest[]>> {
    const known = new Map<string, readonly Digest[]>()
    for (const name of await readdir(this.#options.folder)) {
      const hash = /^([0-9a-f]{64})\.json$/.exec(name)?.[1]
      if (hash === undefined) continue
      const from = await this.#sourcesOf(hash)
      if (from !== null) known.set(hash, from)
    }
    return known
  }

  async #sourcesOf(hash: string): Promise<readonly Digest[] | null> {
    return (await readSidecar<Pick<DerivedFrom, 'from'>>(this.#target(hash)))?.from ?? null
  }

  #target(hash: string): string {
    return join(this.#options.folder, hash)
  }
}
