import { createHash } from 'node:crypto'
import { createRequire } from 'node:module'
import path from 'node:path'
import { BuildCache } from '../build/build-cache.ts'
import { createBuilder } from '../build/builder.ts'
import { Caches } from '../build/caches.ts'
import type { Interpreter } from '../build/package-plan.ts'
import { serveRegistryProxy } from '../build/registry-proxy.ts'
import { sandboxRun, type SandboxRunOptions } from '../build/sandbox-run.ts'
import type { HostServices } from '../domain/agent.ts'
import type { ArtifactStore } from '../domain/artifact.ts'
import type { Builder, PackageTool, Toolchain } from '../domain/build.ts'
import { AppError } from '../domain/error.ts'
import type { Logger } from '../domain/logger.ts'
import type { RuntimeBuild, RuntimeCatalog } from '../domain/runtime.ts'
import type { Config } from './config.ts'
import { serviceFolder } from './images.ts'
import { outermost } from './outermost.ts'
import { shimFolder } from './runtimes.ts'

export interface Building {
  /** The catalog, and beside it what builds run on. */
  readonly runtimes: RuntimeCatalog
  /** A build's way out leads to package registries alone; everybody else gets `others`. */
  services(others: () => HostServices): HostServices
  builder(options: Omit<SandboxRunOptions, 'runtime' | 'running'> & { artifacts: ArtifactStore }): Builder
}

interface BuildingOptions {
  readonly runtimes: RuntimeCatalog
  readonly toolchains: readonly Toolchain[]
  readonly packageTools: readonly PackageTool[]
  readonly folders: Pick<Config, 'cache' | 'data'>
  readonly logger: Logger
}

/** What the platform had compiled serves all platforms of this machine; what projects' builds left is this platform's. Each of the two is as large at most. */
const cacheBytesMax = 1024 * 1024 * 1024

/** Folders that a sandbox has of its own: what lies below them here cannot be seen there. Twin: `binds` in guest/src/request/fields.rs. */
const hidden = ['/proc', '/dev', '/tmp', '/etc', '/opt', '/var/task', '/var/cache', '/var/opt']

const isHidden = (folder: string): boolean => hidden.some((own) => folder.startsWith(`${own}/`))

/** Builds run on the newest Node, with the toolchains and interpreters of this machine to be seen in their sandboxes. */
export function openBuilding({ runtimes, folders, logger, ...found }: BuildingOptions): Building {
  const toolchains = found.toolchains.filter(({ folder }) => !isHidden(folder))
  for (const { language, version, folder } of found.toolchains.filter((each) => !toolchains.includes(each)))
    logger.warn('build.toolchain.hidden', { language, version, folder, allowed: `outside of ${hidden.join(', ')}` })
  const packageTools = found.packageTools.filter(({ folder }) => !isHidden(folder))
  const places = (): readonly string[] => {
    const interpreters = runtimes.list().map(({ prefix }) => prefix)
    const folders = [...toolchains, ...packageTools].map(({ folder }) => folder)
    return outermost(
      [...folders, ...interpreters].filter((folder) => folder !== '' && !isHidden(folder) && !isSystem(folder)),
    )
  }
  const running = new Set<string>()
  const cache = (folder: string): BuildCache => new BuildCache({ folder, bytesMax: cacheBytesMax })
  const own = cache(path.join(folders.data, 'builds'))
  const caches = new Caches({ shared: cache(serviceFolder(folders.cache, 'builds')), own })
  const runtime = (): RuntimeBuild | null => {
    const node = runtimes.list().find(({ family }) => family === 'node')
    if (node === undefined) return null
    const mounts = places()
    const digest = createHash('sha256')
      .update(`${node.digest} build ${mounts.join(' ')}`)
      .digest('hex')
    return { ...node, digest: `sha256:${digest}`, mounts }
  }
  const needed = (): RuntimeBuild => {
    const build = runtime()
    if (build === null) throw new AppError('internal', 'Cannot build: this machine has no Node for functions.')
    return build
  }
  return {
    runtimes: {
      list: () => runtimes.list(),
      others: () => runtimes.others(),
      resolve: (name, contract) => runtimes.resolve(name, contract),
      pinned: (digest) => {
        const build = runtime()
        return build?.digest === digest ? build : runtimes.pinned(digest)
      },
    },
    services: (others) => ({
      open(service, identity, stream) {
        if (!running.has(identity.functionName)) return others().open(service, identity, stream)
        if (service !== 'platform-api') return false
        serveRegistryProxy(stream, (target) => logger.warn('build.refused', { build: identity.functionName, target }))
        return true
      },
    }),
    builder: ({ artifacts, ...options }) =>
      createBuilder({
        artifacts,
        toolchains,
        packageTools,
        shimFolder,
        zipModules,
        caches,
        run: sandboxRun({ ...options, runtime: needed, running }),
        interpreterOf: (name) => asInterpreter(runtimes.resolve(name, 'handler')),
        runner: () => asInterpreter(needed()),
      }),
  }
}

const isSystem = (folder: string): boolean => folder.startsWith('/usr/')

function asInterpreter({ version, executable, prefix }: RuntimeBuild): Interpreter {
  return { version, executable, prefix, isSeen: !isHidden(executable) }
}

/** The zip writer and what it is made of, as files for a sandbox. */
const yazl = createRequire(import.meta.url).resolve('yazl')
const zipModules = new Map([
  ['yazl', yazl],
  ['buffer-crc32', createRequire(yazl).resolve('buffer-crc32')],
])
