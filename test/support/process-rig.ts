import { ProcessDriver } from '../../src/driver/process/process-driver.ts'
import { LauncherClient } from '../../src/driver/launcher-client.ts'
import { UidRange } from '../../src/driver/uid-range.ts'
import { prepareEtc } from '../../src/driver/process/etc.ts'
import { systemClock, type Clock } from '../../src/domain/clock.ts'
import { silentLogger, type Logger } from '../../src/domain/logger.ts'
import type { RuntimeBuild, RuntimeFamily } from '../../src/domain/runtime.ts'
import type { Version } from '../../src/domain/function.ts'
import type { LocalAgentOptions } from '../../src/agent/local-agent-options.ts'
import { runtimeCandidates } from '../../src/image/runtime-candidates.ts'
import { discoverRuntimes, runtimeCatalog } from '../../src/image/runtimes.ts'
import { AgentRig, foldersAsArtifacts, versionOf } from './agent-rig.ts'
import { startLauncher, type TestLauncher } from './launcher.ts'
import { createHash } from 'node:crypto'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import type { Duplex } from 'node:stream'

const root = path.resolve(import.meta.dirname, '../..')
export const shimFolder = path.join(root, 'runtimes')
const uids = { first: 1_800_000_000, count: 1_000 }

/** The runtimes of this machine. */
export async function machineRuntimes(scratch: string): Promise<RuntimeBuild[]> {
  const candidates = await runtimeCandidates({
    path: (process.env['PATH'] ?? '').split(':'),
    home: os.homedir(),
    installedFolder: path.join(scratch, 'runtimes'),
    bundled: [{ path: process.execPath, family: 'node' }],
  })
  return discoverRuntimes({ candidates, shimFolder, cacheFile: path.join(scratch, 'runtimes.json') })
}

/** A process driver over the launcher at the other end of `channel`. */
export async function openProcessDriver(
  channel: Duplex,
  folder: string,
  logger = silentLogger,
): Promise<ProcessDriver> {
  const runFolder = path.join(folder, 'run')
  const etcFolder = path.join(folder, 'etc')
  await mkdir(runFolder, { recursive: true, mode: 0o700 })
  await prepareEtc(etcFolder, { nameServer: '100.64.0.1', uids })
  const launcher = new LauncherClient(channel, logger)
  const common = { launcher, logger, runFolder, shimFolder, etcFolder }
  return new ProcessDriver({ ...common, uids: new UidRange(uids), resolverPort: null })
}

/** A local agent over real sandboxes and interpreters. */
export class ProcessRig {
  readonly rig: AgentRig<ProcessDriver, Clock>
  readonly #launcher: TestLauncher
  readonly #builds: readonly RuntimeBuild[]
  readonly #folders: Map<string, string>
  readonly #scratch: string

  private constructor(of: {
    rig: AgentRig<ProcessDriver, Clock>
    launcher: TestLauncher
    builds: readonly RuntimeBuild[]
    folders: Map<string, string>
    scratch: string
  }) {
    this.rig = of.rig
    this.#launcher = of.launcher
    this.#builds = of.builds
    this.#folders = of.folders
    this.#scratch = of.scratch
  }

  static async open(options: Partial<LocalAgentOptions> & { logger?: Logger } = {}): Promise<ProcessRig> {
    const launcher = await startLauncher()
    const scratch = await mkdtemp(path.join(os.tmpdir(), 'hearth-process-'))
    const builds = await machineRuntimes(scratch)
    const folders = new Map<string, string>()
    const driver = await openProcessDriver(launcher.channel, launcher.folder, options.logger)
    const rig = new AgentRig<ProcessDriver, Clock>(systemClock, driver, {
      runtimes: runtimeCatalog(builds),
      artifacts: foldersAsArtifacts(folders, scratch),
      ...options,
      folders: {
        instances: path.join(launcher.folder, 'instances'),
        logs: path.join(scratch, 'logs'),
        snapshots: path.join(scratch, 'snapshots'),
      },
    })
    await rig.agent.register()
    return new ProcessRig({ rig, launcher, builds, folders, scratch })
  }

  build(family: RuntimeFamily): RuntimeBuild {
    return runtimeCatalog(this.#builds).resolve(family)
  }

  /** A Version whose code is the one file `source`. */
  async version(
    family: RuntimeFamily,
    source: string,
    { config = {}, name = 'fn' }: { config?: Partial<Version['config']>; name?: string } = {},
  ): Promise<Version> {
    const hex = createHash('sha256').update(source).digest('hex')
    const folder = path.join(this.#scratch, hex)
    await mkdir(folder, { recursive: true })
    await writeFile(path.join(folder, family === 'node' ? 'index.js' : 'main.py'), source)
    this.#folders.set(`sha256:${hex}`, folder)
    const build = this.build(family)
    const handler = family === 'node' ? 'index.handler' : 'main.handler'
    return versionOf(
      { handler, runtime: family, ...config },
      {
        functionName: name,
        codeDigest: `sha256:${hex}`,
        runtimeId: build.id,
        runtimeVersion: build.version,
        runtimeDigest: build.digest,
      },
    )
  }

  async close(): Promise<void> {
    await this.rig.close()
    await this.#launcher.close()
    await rm(this.#scratch, { recursive: true, force: true })
  }
}
