import type { BuildCache, CacheDraft, CacheEntry, CacheKey } from './build-cache.ts'
import type { SharedPart } from './plan.ts'
import type { SandboxResult } from './sandbox-run.ts'

export interface CacheFolders {
  /** What the platform itself had compiled: for every project, and every platform of this machine. */
  readonly shared: BuildCache
  /** What builds of a project left, for builds of the same project. */
  readonly own: BuildCache
}

export interface CacheScope {
  readonly project: string
  /** Language, exact version and target. */
  readonly toolchain: string
  readonly lock: string
  readonly parts: readonly SharedPart[]
}

/** The caches that a build starts with; the runner tells them apart. */
export interface CacheEntries {
  readonly shared: readonly CacheEntry[]
  readonly own: readonly CacheEntry[]
}

export interface CacheUse {
  readonly caches: CacheEntries
  readonly draft: CacheDraft
}

export interface CachedBuild {
  /** Builds a shared part on top of those before it. */
  readonly make: (part: SharedPart, use: CacheUse) => Promise<SandboxResult>
  readonly build: (use: CacheUse) => Promise<SandboxResult>
  readonly report: (line: string) => void
}

/** Which caches a build gets, and what it leaves. A cache saves time and decides nothing: where there is none, or it is broken, or the disk is full, builds go on without. */
export class Caches {
  readonly #folders: CacheFolders
  /** Of shared parts that are being made, by key: whoever wants the same one waits. */
  readonly #making = new Map<string, Promise<void>>()

  constructor(folders: CacheFolders) {
    this.#folders = folders
  }

  /** Runs `build` with what there is, makes shared parts that are missing first, and keeps what it leaves when it succeeds. Throws what `build` throws. */
  async around(scope: CacheScope, by: CachedBuild): Promise<SandboxResult> {
    const shared = await this.#sharedParts(scope, by)
    const own = await readable(async () => this.#folders.own.openNearest(ownKey(scope)), by)
    const used = [
      ...scope.parts
        .slice(0, shared.length)
        .slice(-1)
        .map(({ title }) => title),
      ...(own === null ? [] : [`what a build with ${own.isExact ? 'the same' : 'another'} lock file left`]),
    ]
    by.report(`Cache: ${used.length === 0 ? 'nothing yet' : used.join('; ')}.`)
    const caches = { shared, own: own === null ? [] : [own] }
    const build = async (draft: CacheDraft): Promise<SandboxResult> => by.build({ caches, draft })
    const { result, keptBytes } = await keeping(this.#folders.own, ownKey(scope), { ...by, build }).finally(() =>
      close(caches),
    )
    if (keptBytes > 0) by.report(`Kept ${(keptBytes / 1e6).toFixed(1)} MB for the next build.`)
    return result
  }

  async #sharedParts(scope: CacheScope, by: CachedBuild): Promise<CacheEntry[]> {
    const { shared } = this.#folders
    const entries: CacheEntry[] = []
    for (const [index, part] of scope.parts.entries()) {
      const key = partKey(scope, index)
      const entry =
        (await readable(async () => shared.open(key), by)) ?? (await this.#made(key, { part, scope, index, by }))
      // The next one was compiled on top of it.
      if (entry === null) break
      entries.push(entry)
    }
    return entries
  }

  async #made(key: CacheKey, of: PartWanted): Promise<CacheEntry | null> {
    const { by, part } = of
    by.report(`Compiling ${part.title}, once for this toolchain ...`)
    const name = JSON.stringify(key)
    const making = this.#making.get(name) ?? this.#make(key, of).finally(() => this.#making.delete(name))
    this.#making.set(name, making)
    try {
      await making
    } catch (error) {
      by.report(`Not compiled ahead: ${textOf(error)}`)
    }
    return readable(async () => this.#folders.shared.open(key), by)
  }

  /** With entries of its own: their streams are read once. */
  async #make(key: CacheKey, { part, scope, index, by }: PartWanted): Promise<void> {
    const { shared } = this.#folders
    const below: CacheEntry[] = []
    for (let n = 0; n < index; n++) {
      const entry = await shared.open(partKey(scope, n))
      if (entry !== null) below.push(entry)
    }
    const caches = { shared: below, own: [] }
    const build = async (draft: CacheDraft): Promise<SandboxResult> => by.make(part, { caches, draft })
    await keeping(shared, key, { ...by, build }).finally(() => close(caches))
  }
}

interface PartWanted {
  readonly part: SharedPart
  readonly scope: CacheScope
  readonly index: number
  readonly by: CachedBuild
}

function close({ shared, own }: CacheEntries): void {
  for (const { content } of [...shared, ...own]) content.destroy()
}

/** Null, and said so, where it cannot be read. */
async function readable(
  open: () => Promise<CacheEntry | null>,
  { report }: Pick<CachedBuild, 'report'>,
): Promise<CacheEntry | null> {
  try {
    return await open()
  } catch (error) {
    report(`A cache cannot be read: ${textOf(error)}`)
    return null
  }
}

/** What `build` gives, and the size of what it left in `cache`; 0 when it left nothing. */
async function keeping(
  cache: BuildCache,
  key: CacheKey,
  { build, report }: { build: (draft: CacheDraft) => Promise<SandboxResult>; report: (line: string) => void },
): Promise<{ result: SandboxResult; keptBytes: number }> {
  const draft = await cache.draft(key).catch((error: unknown) => draftOfNothing(error))
  let result: SandboxResult
  try {
    result = await build(draft)
  } catch (error) {
    await draft.discard()
    throw error
  }
  if (!result.isCacheWhole) {
    await draft.discard()
    return { result, keptBytes: 0 }
  }
  try {
    return { result, keptBytes: await draft.commit() }
  } catch (error) {
    report(`Nothing is kept for the next build: ${textOf(error)}`)
    return { result, keptBytes: 0 }
  }
}

/** Where nothing can be written: `commit` says why. */
function draftOfNothing(why: unknown): CacheDraft {
  return {
    write: async () => {},
    discard: async () => {},
    commit: async () => {
      throw why
    },
  }
}

/** Not for any project: nothing of one goes into it. */
function partKey({ toolchain, parts }: CacheScope, index: number): CacheKey {
  const recipe = parts.slice(0, index + 1).map(({ files, steps }) => ({ files: [...files], steps }))
  return { owner: 'platform', toolchain, lock: JSON.stringify(recipe) }
}

function ownKey({ project, toolchain, lock }: CacheScope): CacheKey {
  return { owner: `project ${project}`, toolchain, lock }
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
