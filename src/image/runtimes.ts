import type { Digest } from '../domain/artifact.ts'
import type { Toolchain } from '../domain/build.ts'
import { AppError } from '../domain/error.ts'
import { defaultContract, isProvided, runtimeFamilies, runtimeIdOf } from '../domain/runtime.ts'
import type { RuntimeBuild, RuntimeCatalog } from '../domain/runtime.ts'
import type { RuntimeCandidate } from './runtime-candidates.ts'
import { linesOf, otherRuntimes } from './other-runtimes.ts'
import { isKnownLine, ownName, refusalOf, type KnownRuntimes } from './runtime-names.ts'
import { probeRuntime, type ProbedRuntime } from './runtime-probe.ts'
import { createHash } from 'node:crypto'
import { readdir, readFile, realpath, rename, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

export interface DiscoverOptions {
  readonly candidates: readonly RuntimeCandidate[]
  /** Holds `node/` and `python/`: their sources are part of each build's digest. */
  readonly shimFolder: string
  /** Answers of earlier runs, by path, size and mtime. */
  readonly cacheFile: string
  /** How long each may take to answer. */
  readonly probeMs?: number
}

type Cache = Record<string, { stamp: string; probed: ProbedRuntime | null }>

/** Runs each candidate and asks what it is; the builds, newest first, one per real executable. Results are kept in `cacheFile`. */
export async function discoverRuntimes(options: DiscoverOptions): Promise<RuntimeBuild[]> {
  const cache = await readCache(options.cacheFile)
  const fresh: Cache = {}
  const shims = {
    provided: '',
    node: await sourcesDigest(join(options.shimFolder, 'node')),
    python: await sourcesDigest(join(options.shimFolder, 'python')),
  }
  const builds = new Map<string, RuntimeBuild>()
  await Promise.all(
    options.candidates.map(async ({ path, family }) => {
      const stamp = await stampOf(path)
      if (stamp === null) return
      const known = cache[path]
      const probed = known?.stamp === stamp ? known.probed : await probeRuntime({ path, family }, options.probeMs)
      // Asked again at the next start: no answer is none to keep.
      if (probed === 'unanswered') return
      fresh[path] = { stamp, probed }
      if (probed !== null) builds.set(probed.executable, await buildOf(probed, shims[family]))
    }),
  )
  await writeCache(options.cacheFile, fresh)
  const provided = await providedBuild(options.shimFolder)
  return [...builds.values(), ...(provided === null ? [] : [provided])].sort(byNewest)
}

/** A catalog of `builds`. Of several with one id the newest counts; all can be pinned. Lines of Go and Rust that have come since this was written
 *  are known by `toolchains`. */
export function runtimeCatalog(builds: readonly RuntimeBuild[], toolchains: readonly Toolchain[] = []): RuntimeCatalog {
  const sorted = [...builds].sort(byNewest)
  const newest = new Map<string, RuntimeBuild>()
  for (const build of sorted) if (!newest.has(build.id)) newest.set(build.id, build)
  const list = [...newest.values()]
  const all = sorted.flatMap((build) => (build.isBridged ? [build] : [build, bridged(build)]))
  const byDigest = new Map(all.map((build) => [build.digest, build]))
  const known = { list, lines: linesOf(toolchains) }
  return {
    list: () => list,
    others: () => otherRuntimes(list, toolchains),
    resolve: (name, contract = defaultContract(name)) => {
      const build = resolve(name, known)
      return contract === 'handler' || build.isBridged ? build : bridged(build)
    },
    pinned: (digest) => {
      const build = byDigest.get(digest)
      if (build !== undefined) return build
      throw new AppError('not_found', `The runtime build ${digest} is not on this node any more.`)
    },
  }
}

/** The same interpreter for programs that the bridge starts. */
function bridged(build: RuntimeBuild): RuntimeBuild {
  const digest: Digest = `sha256:${createHash('sha256').update(`${build.digest} bridged`).digest('hex')}`
  return { ...build, digest, isBridged: true }
}

/** What runs programs that bring everything with them; null where the sandbox program is not there, as in a clone that was not set up. */
async function providedBuild(shimFolder: string): Promise<RuntimeBuild | null> {
  const executable = join(shimFolder, 'provided/hearth-guest')
  const program = await readFile(executable).catch(() => null)
  if (program === null) return null
  const digest: Digest = `sha256:${createHash('sha256').update('provided\0').update(program).digest('hex')}`
  return {
    id: 'provided',
    family: 'provided',
    version: '1',
    executable,
    prefix: '',
    digest,
    isBridged: true,
    image: digest,
  }
}

function resolve(name: string, known: KnownRuntimes): RuntimeBuild {
  const { list, lines } = known
  const wanted = ownName(name)
  const build = list.find(({ id, family }) => id === wanted || family === wanted)
  if (build !== undefined) return build
  const id = runtimeIdOf(wanted)
  const provided = list.find(({ family }) => family === 'provided')
  // One environment under several names, AWS's among them.
  if (id !== null && isProvided(id) && isKnownLine(id, lines) && provided !== undefined) return { ...provided, id }
  const allowed = [...runtimeFamilies, ...list.map((each) => each.id)].join(', ')
  throw new AppError('invalid', refusalOf(name, known), { field: 'runtime', value: name, allowed })
}

async function buildOf(probed: ProbedRuntime, shimDigest: string): Promise<RuntimeBuild> {
  const { size, mtimeMs } = await stat(probed.executable)
  const facts = JSON.stringify([probed.id, probed.version, size, Math.floor(mtimeMs), shimDigest])
  const digest: Digest = `sha256:${createHash('sha256').update(facts).digest('hex')}`
  return { ...probed, digest, isBridged: false, image: digest }
}

/** Over names and contents, so that a changed shim makes new builds. */
async function sourcesDigest(folder: string): Promise<string> {
  const hash = createHash('sha256')
  for (const name of (await readdir(folder).catch(() => [])).toSorted((a, b) => a.localeCompare(b))) {
    if (!/\.(cjs|mjs|js|py)$/.test(name) || /\.test\./.test(name)) continue
    hash.update(`${name}\0`).update(await readFile(join(folder, name)))
  }
  return hash.digest('hex')
}

/** Newest version first, within a family; families in their own order. */
function byNewest(a: RuntimeBuild, b: RuntimeBuild): number {
  if (a.family !== b.family) return runtimeFamilies.indexOf(a.family) - runtimeFamilies.indexOf(b.family)
  const [x, y] = [a, b].map(({ version }) => version.split('.').map(Number))
  for (let part = 0; part < 3; part++) {
    const difference = (y?.[part] ?? 0) - (x?.[part] ?? 0)
    if (difference !== 0) return difference
  }
  return 0
}

/** Changes when the file behind `path`, or what `path` points to, changes; null when there is nothing. */
async function stampOf(path: string): Promise<string | null> {
  try {
    const { size, mtimeMs } = await stat(path)
    return `${await realpath(path)} ${size} ${mtimeMs}`
  } catch {
    return null
  }
}

async function readCache(file: string): Promise<Cache> {
  try {
    const cache: Cache = JSON.parse(await readFile(file, 'utf8'))
    return cache
  } catch {
    // Absent or damaged: everything is probed again.
    return {}
  }
}

async function writeCache(file: string, cache: Cache): Promise<void> {
  await writeFile(`${file}.draft`, JSON.stringify(cache, null, 1))
  await rename(`${file}.draft`, file)
}
