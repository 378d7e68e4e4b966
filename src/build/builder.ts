import { createHash } from 'node:crypto'
import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { ZipFile } from 'yazl'
import type { Digest } from '../domain/artifact.ts'
import {
  languageOf,
  packageToolOf,
  type Built,
  type Builder,
  type BuildRequest,
  type BuildWatch,
  type Language,
  type Provenance,
  type Toolchain,
} from '../domain/build.ts'
import { AppError, invalid } from '../domain/error.ts'
import { oldestNative, runtimeIdOf } from '../domain/runtime.ts'
import type { Caches, CacheScope } from './caches.ts'
import { goPlan } from './go-plan.ts'
import { isAsset, type PlanOptions, type Source } from './plan.ts'
import { buildPackages, type PackageBuilderOptions } from './package-builder.ts'
import { checkedVersion, pickToolchain } from './pick-toolchain.ts'
import { rustPlan } from './rust-plan.ts'
import { targets } from './targets.ts'
import { runWork, type WorkOptions } from './work.ts'
import { addEntry, ended, entriesBelow, entryOptions, type SourceEntry } from './zip-entries.ts'

export interface BuilderOptions extends PackageBuilderOptions {
  readonly toolchains: readonly Toolchain[]
  /** Holds `go/`, `rust/` and `builder/`. */
  readonly shimFolder: string
  readonly caches: Caches
}

/** What the plans read of a source; assets of any size are only passed on. */
const textBytesMax = 4 * 1024 * 1024
/** All of them are in memory at a time. */
const sourceBytesMax = 32 * 1024 * 1024

/** Builds Go and Rust sources and installs packages of Node and Python, each in a sandbox of its own. */
export function createBuilder(options: BuilderOptions): Builder {
  return {
    async build(request, watch) {
      const tool = packageToolOf(request.runtime)
      return tool === null ? build(options, request, watch) : buildPackages(options, tool, { request, watch })
    },
  }
}

async function build(options: BuilderOptions, request: BuildRequest, watch: BuildWatch): Promise<Built> {
  const { artifacts, caches, shimFolder, run } = options
  const language = languageOf(request.runtime)
  if (language === null)
    throw invalid('runtime', request.runtime, 'go, rust, node or python, or one version of them: others need no build')
  // Before anybody installs a compiler for it: a Version with it would be refused.
  if (runtimeIdOf(request.runtime) === null)
    throw invalid('runtime', request.runtime, `${language}, or ${language}1.${oldestNative[language]} or newer`)
  const toolchain = pickToolchain(options.toolchains, { language, runtime: request.runtime, arch: request.arch })
  const { folder } = await artifacts.unpack(request.source)
  const entries = await entriesBelow(folder)
  const source = await readSource(folder, entries, language)
  const shim = await readShim(join(shimFolder, language), language)
  const { runtime, handler, project } = request
  const [{ version }, target] = [toolchain, targets[request.arch]]
  const planned: PlanOptions = { source, handler, shim, runtime, version, target }
  const plan = language === 'go' ? goPlan(planned) : rustPlan(planned)
  const exact = plan.env['GOTOOLCHAIN']?.startsWith('go') === true ? plan.env['GOTOOLCHAIN'].slice(2) : version
  watch.report(`Building with ${language} ${exact}${plan.isNative ? '' : ', its own main'}.`)
  const lock = source.get(language === 'go' ? 'go.sum' : 'Cargo.lock')
  const scope: CacheScope = {
    project,
    toolchain: `${language} ${exact} ${target.triple}`,
    // Without a lock the manifest is the nearest to one.
    lock: lock ?? source.get(language === 'go' ? 'go.mod' : 'Cargo.toml') ?? '',
    parts: plan.shared,
  }
  const env = { ...plan.env, ...sandboxEnv(toolchain) }
  const work: WorkOptions = { ...watch, artifacts, run, runnerFolder: join(shimFolder, 'builder'), project, plan, env }
  const { program, said } = await caches.around(scope, {
    report: watch.report,
    // Nothing of the source: what comes out is for every project.
    make: async (part, use) => runWork(work, { folder, entries: [], files: part.files, steps: part.steps, ...use }),
    build: async (use) => runWork(work, { folder, entries, files: plan.files, steps: plan.steps, ...use }),
  })
  const provenance: ProgramProvenance = {
    source: request.source,
    toolchain: `${language} ${checkedVersion(said, { language, runtime })}`,
    lock: lock === undefined ? null : digestOf(lock),
    output: digestOf(program),
    program: plan.isNative ? 'hearth-bootstrap' : 'bootstrap',
    arch: request.arch,
  }
  const assets = entries.filter(({ name }) => isAsset(language, name))
  const artifact = await artifacts.put(bundleZip({ folder, assets, program, provenance }))
  return { artifact, provenance }
}

function sandboxEnv(toolchain: Toolchain): Record<string, string> {
  return {
    PATH: `${join(toolchain.folder, 'bin')}:/usr/local/bin:/usr/bin:/bin`,
    HOME: '/tmp',
    LANG: 'C.UTF-8',
    TZ: 'UTC',
    ...(toolchain.language === 'go' && { GOROOT: toolchain.folder }),
    // The supervisor's door to the platform: for a build it leads to package registries alone.
    https_proxy: 'http://127.0.0.1:9010',
    HTTPS_PROXY: 'http://127.0.0.1:9010',
    SSL_CERT_FILE: '/etc/ssl/certs/ca-certificates.crt',
    // A source's own .cargo/config.toml puts no other compiler in its place.
    ...(toolchain.language === 'rust' && { RUSTC: join(toolchain.folder, 'bin/rustc'), RUSTC_WRAPPER: '' }),
  }
}

async function readSource(folder: string, entries: readonly SourceEntry[], language: Language): Promise<Source> {
  const source = new Map<string, string>()
  let sum = 0
  for (const { name, link } of entries) {
    if (link !== null || isAsset(language, name) || /(^|\/)(vendor|target)\//.test(name)) continue
    if ((await stat(join(folder, name))).size > textBytesMax)
      throw invalid('code', name, `source files of at most ${textBytesMax} bytes`)
    const text = await readFile(join(folder, name), 'utf8')
    sum += text.length
    if (sum > sourceBytesMax) throw invalid('code', name, `at most ${sourceBytesMax} bytes of source files together`)
    source.set(name, text)
  }
  return source
}

async function readShim(folder: string, language: Language): Promise<Source> {
  const isPart = (name: string): boolean =>
    (language === 'go' ? /^(go\.mod|(?!.*_test\.go$).*\.go)$/ : /^(Cargo\.toml|src\/\w+\.rs)$/).test(name)
  const names = (await entriesBelow(folder)).map(({ name }) => name).filter(isPart)
  const texts = await Promise.all(
    names.map(async (name) => [name, await readFile(join(folder, name), 'utf8')] as const),
  )
  if (texts.length === 0) throw new AppError('internal', `The runtime for ${language} is not in ${folder}.`)
  return new Map(texts)
}

type ProgramProvenance = Provenance & { readonly program: string }

interface Bundle {
  readonly folder: string
  readonly assets: readonly SourceEntry[]
  readonly program: Buffer
  readonly provenance: ProgramProvenance
}

function bundleZip({ folder, assets, program, provenance }: Bundle): Readable {
  const zip = new ZipFile()
  const own = new Set<string>([provenance.program, 'hearth-build.json'])
  for (const asset of assets) if (!own.has(asset.name)) addEntry(zip, folder, { ...asset, as: asset.name })
  zip.addBuffer(program, provenance.program, entryOptions(0o100755))
  zip.addBuffer(Buffer.from(`${JSON.stringify(provenance, null, 2)}\n`), 'hearth-build.json', entryOptions(0o100644))
  return ended(zip)
}

function digestOf(content: string | Buffer): Digest {
  return `sha256:${createHash('sha256').update(content).digest('hex')}`
}
