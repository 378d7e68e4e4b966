import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { ZipFile } from 'yazl'
import type { ArtifactStore } from '../domain/artifact.ts'
import type { CacheEntry } from './build-cache.ts'
import type { CacheUse } from './caches.ts'
import { outFolder, workFolder, type Plan, type Step } from './plan.ts'
import type { RunInSandbox, SandboxJob, SandboxResult } from './sandbox-run.ts'
import { addEntry, ended, entryOptions, type SourceEntry } from './zip-entries.ts'

/** Less than this added to a cache is not worth writing it anew: the source's own packages are about as large. */
const addedBytesMin = 1024 * 1024

export interface WorkOptions {
  readonly artifacts: ArtifactStore
  readonly run: RunInSandbox
  readonly runnerFolder: string
  readonly project: string
  readonly plan: Pick<Plan, 'output' | 'cache' | 'lasting'>
  readonly env: Readonly<Record<string, string>>
  readonly report: (line: string) => void
  readonly signal: AbortSignal
  /** What the runner makes one archive of, in place of finding a program. */
  readonly pack?: PackOrder
  /** Takes what comes out; see `SandboxJob`. */
  readonly sink?: SandboxJob['sink'] & {}
  /** Further files for the runner, by their name in its archive. */
  readonly modules?: ReadonlyMap<string, string>
}

/** Twin: runtimes/builder/pack.js. */
export interface PackOrder {
  readonly folder: string
  readonly file: string
  /** Texts by name, in place of what is there. */
  readonly notes: Readonly<Record<string, string>>
}

/** An unpacked source and what goes along of it; `files` come in addition to those, or in their place. */
interface WorkFiles {
  readonly folder: string
  readonly entries: readonly SourceEntry[]
  readonly files: ReadonlyMap<string, string>
}

/** Runs steps on files in a sandbox of its own, with its caches in place. Throws guest_failed, capacity, driver_failed. */
export async function runWork(
  options: WorkOptions,
  { caches, draft, steps, ...files }: WorkFiles & CacheUse & { readonly steps: readonly Step[] },
): Promise<SandboxResult> {
  const { artifacts, run, runnerFolder, project, plan, env, report, signal, pack, sink, modules } = options
  const shared = named('shared', caches.shared)
  const own = named('own', caches.own)
  const given = new Map([...shared, ...own])
  const code = await artifacts.put(workZip({ ...files, caches: given, runnerFolder, modules: modules ?? new Map() }))
  try {
    const { output, lasting } = plan
    const cache = { ...plan.cache, shared: [...shared.keys()], own: [...own.keys()], addedBytesMin }
    const event = JSON.stringify({ workFolder, outFolder, steps, lasting, output, env, cache, pack })
    const result = await run({ project, code, event, cache: draft, signal, ...(sink && { sink }) }, report)
    if (result.cacheFailed !== null) {
      report(`The cache could not be used: ${result.cacheFailed}.`)
      for (const entry of given.values()) await entry.forget()
    }
    return result
  } finally {
    await artifacts.delete(code.digest)
  }
}

function named(name: string, caches: readonly CacheEntry[]): ReadonlyMap<string, CacheEntry> {
  return new Map(caches.map((cache, index) => [`${name}-${index}`, cache]))
}

interface WorkParts {
  readonly caches: ReadonlyMap<string, CacheEntry>
  readonly runnerFolder: string
  readonly modules: ReadonlyMap<string, string>
}

function workZip({ folder, entries, files, caches, runnerFolder, modules }: WorkFiles & WorkParts): Readable {
  const zip = new ZipFile()
  for (const name of ['index.js', 'cache.cjs']) zip.addFile(join(runnerFolder, name), name, entryOptions(0o100644))
  for (const [name, file] of modules) zip.addFile(file, name, entryOptions(0o100644))
  // Each build owns its archive and removes it: two of the same source must not share one.
  zip.addBuffer(randomBytes(16), 'build-id', entryOptions(0o100644))
  for (const [name, { bytes, content }] of caches)
    zip.addReadStream(content, name, { ...entryOptions(0o100644), size: bytes, compress: false })
  for (const entry of entries)
    if (!files.has(entry.name)) addEntry(zip, folder, { ...entry, as: `source/${entry.name}` })
  for (const [name, text] of files) zip.addBuffer(Buffer.from(text), `source/${name}`, entryOptions(0o100644))
  return ended(zip)
}
