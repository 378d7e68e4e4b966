import { createHash } from 'node:crypto'
import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import type { Artifact, ArtifactStore, Digest } from '../domain/artifact.ts'
import type { BuildOrder, Built, BuildRequest, BuildWatch, PackageTool } from '../domain/build.ts'
import { AppError, invalid } from '../domain/error.ts'
import type { Caches, CacheScope } from './caches.ts'
import { npmPlan } from './npm-plan.ts'
import { plannedFiles, type Interpreter, type PackagePlan } from './package-plan.ts'
import { pipPlan } from './pip-plan.ts'
import { outFolder, workFolder } from './plan.ts'
import type { RunInSandbox, SandboxJob } from './sandbox-run.ts'
import { thisArch } from './targets.ts'
import { runWork, type WorkOptions } from './work.ts'
import { entriesBelow, type SourceEntry } from './zip-entries.ts'

export interface PackageBuilderOptions {
  readonly artifacts: ArtifactStore
  readonly packageTools: readonly PackageTool[]
  /** What a function of `runtime` runs on. Throws invalid. */
  readonly interpreterOf: (runtime: string) => Interpreter
  readonly runner: () => Interpreter
  /** Holds `builder/`. */
  readonly shimFolder: string
  /** Modules that the runner zips with: their file by name. */
  readonly zipModules: ReadonlyMap<string, string>
  readonly run: RunInSandbox
  readonly caches: Caches
}

const noteName = 'hearth-build.json'
const textBytesMax = 32 * 1024 * 1024

/** Installs what a source names beside it, in a sandbox of its own; see `Builder.build` for what it throws. */
export async function buildPackages(
  options: PackageBuilderOptions,
  tool: PackageTool['tool'],
  { request, watch }: { request: BuildRequest; watch: BuildOrder },
): Promise<Built> {
  const { artifacts, caches } = options
  const { arch, runtime } = request
  if (arch !== thisArch) throw invalid('arch', arch, `${thisArch}: packages are installed for this machine's processor`)
  const { folder } = await artifacts.unpack(request.source)
  const entries = await entriesBelow(folder)
  const texts = await readTexts(folder, entries)
  const { packageTools: tools, interpreterOf, runner } = options
  const planned = { texts, tools, interpreter: interpreterOf(runtime), runner: runner() }
  const plan = tool === 'npm' ? npmPlan(planned) : pipPlan(planned)
  watch.report(`Installing with ${plan.toolchain}.`)
  const lock = plan.lock === null ? null : digestOf(texts.get(plan.lock) ?? '')
  const facts = { source: request.source, toolchain: plan.toolchain, lock, program: null, arch }
  const note = `${JSON.stringify(facts, null, 2)}\n`
  const work = workOf(options, { project: request.project, plan, note, watch })
  const scope: CacheScope = {
    project: request.project,
    toolchain: plan.toolchain,
    // Without a lock what names the packages is the nearest to one.
    lock: texts.get(plan.lock ?? plan.manifest) ?? '',
    parts: [],
  }
  const artifact = await stored(artifacts, watch.signal, async (sink, signal) =>
    caches.around(scope, {
      report: watch.report,
      make: () => Promise.reject(new AppError('internal', 'Packages have no shared parts.')),
      build: async (use) =>
        runWork({ ...work, sink, signal }, { folder, entries, files: new Map(), steps: plan.steps, ...use }),
    }),
  )
  await check(artifacts, artifact, { note, discard: watch.discard })
  return { artifact, provenance: { ...facts, output: artifact.digest } }
}

/** What of the top folder the plans go by. */
async function readTexts(folder: string, entries: readonly SourceEntry[]): Promise<ReadonlyMap<string, string>> {
  const texts = new Map<string, string>()
  for (const { name, link } of entries) {
    if (link !== null || !plannedFiles.includes(name)) continue
    const { size } = await stat(join(folder, name))
    if (size > textBytesMax) throw invalid('code', name, `at most ${textBytesMax} bytes`)
    texts.set(name, await readFile(join(folder, name), 'utf8'))
  }
  return texts
}

/** What npm and pip fetched: the next build of the project finds it. */
const cache = { folders: ['cache'], keep: '^cache/(npm/_cacache|pip)/', omit: '^$' }

function workOf(
  { artifacts, run, shimFolder, zipModules }: PackageBuilderOptions,
  of: { project: string; plan: PackagePlan; note: string; watch: BuildWatch },
): WorkOptions {
  const runnerFolder = join(shimFolder, 'builder')
  const modules = [...zipModules].map(([name, file]) => [`node_modules/${name}/index.js`, file] as const)
  const env = {
    HOME: '/tmp',
    LANG: 'C.UTF-8',
    TZ: 'UTC',
    // The supervisor's door to the platform: for a build it leads to package registries alone.
    https_proxy: 'http://127.0.0.1:9010',
    HTTPS_PROXY: 'http://127.0.0.1:9010',
    ...of.plan.env,
  }
  return {
    ...of.watch,
    ...{ artifacts, run, runnerFolder, env, project: of.project },
    plan: { output: outFolder, cache, lasting: [] },
    pack: { folder: workFolder, file: join(outFolder, 'bundle.zip'), notes: { [noteName]: of.note } },
    modules: new Map([['pack.js', join(runnerFolder, 'pack.js')], ...modules]),
  }
}

/** Stores what comes out of the sandbox as it comes. */
async function stored(
  artifacts: ArtifactStore,
  signal: AbortSignal,
  run: (sink: SandboxJob['sink'] & {}, signal: AbortSignal) => Promise<unknown>,
): Promise<Artifact> {
  const bytes = new PassThrough()
  const unwanted = new AbortController()
  let refusal: unknown = null
  const storing = artifacts.put(bytes)
  storing.catch((error: unknown) => {
    refusal = error
    // Whoever waits to write more need not.
    bytes.destroy()
    unwanted.abort()
  })
  const sink = async (piece: Buffer): Promise<void> => {
    if (bytes.destroyed || bytes.write(piece)) return
    await new Promise<void>((resolve) => {
      bytes.once('drain', resolve)
      bytes.once('close', resolve)
    })
  }
  try {
    await run(sink, AbortSignal.any([signal, unwanted.signal]))
  } catch (error) {
    // A disk that is full is why the rest was aborted, and is what there is to say.
    const reason = refusal ?? error
    bytes.destroy(new AppError('guest_failed', 'Cannot build: it broke off.'))
    await storing.catch(() => undefined)
    throw reason
  }
  bytes.end()
  return storing
}

/** What was installed may have run meanwhile: the bundle must unpack, and say of itself what is true. */
async function check(
  artifacts: ArtifactStore,
  { digest }: Artifact,
  { note, discard }: { note: string } & Pick<BuildOrder, 'discard'>,
): Promise<void> {
  try {
    const { folder } = await artifacts.unpack(digest)
    const said = await readFile(join(folder, noteName), 'utf8')
    if (said !== note) throw new AppError('guest_failed', `Cannot build: something changed ${noteName} meanwhile.`)
  } catch (error) {
    await discard(digest)
    throw error
  }
}

function digestOf(content: string): Digest {
  return `sha256:${createHash('sha256').update(content).digest('hex')}`
}
