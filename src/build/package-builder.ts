import { createHash, randomBytes } from 'node:crypto'
import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { PassThrough, type Readable } from 'node:stream'
import { ZipFile } from 'yazl'
import type { Artifact, ArtifactStore, Digest } from '../domain/artifact.ts'
import type { Built, BuildRequest, BuildWatch, PackageTool } from '../domain/build.ts'
import { AppError, invalid } from '../domain/error.ts'
import { npmPlan } from './npm-plan.ts'
import { cacheFolder, plannedFiles, type Interpreter, type PackagePlan } from './package-plan.ts'
import { pipPlan } from './pip-plan.ts'
import { outFolder, workFolder } from './plan.ts'
import type { RunInSandbox, SandboxJob } from './sandbox-run.ts'
import { thisArch } from './targets.ts'
import { addEntry, ended, entriesBelow, entryOptions, type SourceEntry } from './zip-entries.ts'

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
}

const noteName = 'hearth-build.json'
const textBytesMax = 32 * 1024 * 1024

/** Installs what a source names beside it, in a sandbox of its own; see `Builder.build` for what it throws. */
export async function buildPackages(
  options: PackageBuilderOptions,
  tool: PackageTool['tool'],
  { request, watch }: { request: BuildRequest; watch: BuildWatch },
): Promise<Built> {
  const { artifacts, run } = options
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
  const work = await artifacts.put(workZip(options, { folder, entries }))
  try {
    const job = { project: request.project, code: work, event: eventText(plan, note), signal: watch.signal }
    const artifact = await stored(artifacts, job, (held) => run(held, watch.report))
    await check(artifacts, artifact, note)
    return { artifact, provenance: { ...facts, output: artifact.digest } }
  } finally {
    await artifacts.delete(work.digest)
  }
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

function eventText({ steps, env }: PackagePlan, note: string): string {
  const base = {
    HOME: '/tmp',
    LANG: 'C.UTF-8',
    TZ: 'UTC',
    // The supervisor's door to the platform: for a build it leads to package registries alone.
    https_proxy: 'http://127.0.0.1:9010',
    HTTPS_PROXY: 'http://127.0.0.1:9010',
  }
  const pack = {
    folder: workFolder,
    file: join(outFolder, 'bundle.zip'),
    notes: { [noteName]: note },
    scrap: [cacheFolder],
  }
  return JSON.stringify({ workFolder, outFolder, steps, env: { ...base, ...env }, pack })
}

function workZip(
  { shimFolder, zipModules }: PackageBuilderOptions,
  { folder, entries }: { folder: string; entries: readonly SourceEntry[] },
): Readable {
  const zip = new ZipFile()
  for (const name of ['index.js', 'pack.js'])
    zip.addFile(join(shimFolder, 'builder', name), name, entryOptions(0o100644))
  for (const [name, file] of zipModules) zip.addFile(file, `node_modules/${name}/index.js`, entryOptions(0o100644))
  // Each build owns its archive and removes it: two of the same source must not share one.
  zip.addBuffer(randomBytes(16), 'build-id', entryOptions(0o100644))
  for (const entry of entries) addEntry(zip, folder, { ...entry, as: `source/${entry.name}` })
  return ended(zip)
}

/** Stores what comes out of the sandbox as it comes. */
async function stored(
  artifacts: ArtifactStore,
  job: SandboxJob,
  run: (job: SandboxJob) => Promise<unknown>,
): Promise<Artifact> {
  const bytes = new PassThrough()
  const unwanted = new AbortController()
  let refusal: unknown = null
  const storing = artifacts.put(bytes)
  storing.catch((error: unknown) => {
    refusal = error
    unwanted.abort()
  })
  const sink = async (piece: Buffer): Promise<void> => {
    if (!bytes.write(piece)) await new Promise((resolve) => bytes.once('drain', resolve))
  }
  try {
    await run({ ...job, sink, signal: AbortSignal.any([job.signal, unwanted.signal]) })
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
async function check(artifacts: ArtifactStore, { digest }: Artifact, note: string): Promise<void> {
  try {
    const { folder } = await artifacts.unpack(digest)
    const said = await readFile(join(folder, noteName), 'utf8')
    if (said !== note) throw new AppError('guest_failed', `Cannot build: something changed ${noteName} meanwhile.`)
  } catch (error) {
    await artifacts.delete(digest)
    throw error
  }
}

function digestOf(content: string): Digest {
  return `sha256:${createHash('sha256').update(content).digest('hex')}`
}
