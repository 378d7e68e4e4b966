import type {
  BindSpec,
  BootSpec,
  BoundFiles,
  Capabilities,
  Driver,
  EnforcedFeature,
  Exit,
  ProbeResult,
  Sandbox,
  SandboxChannels,
  Usage,
} from '../../domain/driver.ts'
import { folderBound } from '../../domain/driver.ts'
import { AppError } from '../../domain/error.ts'
import type { Logger } from '../../domain/logger.ts'
import { Undo } from '../../domain/undo.ts'
import { ChannelPairs, closePair } from './channel-pairs.ts'
import { inTime } from '../in-time.ts'
import { exitOf, type LauncherClient, type Reply } from '../launcher-client.ts'
import { inSandbox, runtimeArgv, runtimeEnv, shimMount } from '../runtime-command.ts'
import type { UidRange } from '../uid-range.ts'
import { join } from 'node:path'

export interface ProcessDriverOptions {
  /** Shared with other drivers; whoever opened it closes it. */
  readonly launcher: LauncherClient
  readonly logger: Logger
  /** 0700 folder of ours for channel sockets; short, since a socket's path holds 107 bytes. */
  readonly runFolder: string
  /** Folder with the runtimes' shims: `node/bootstrap.cjs`, `python/bootstrap.py`, `provided/hearth-guest`. */
  readonly shimFolder: string
  /** Made by `prepareEtc`. */
  readonly etcFolder: string
  /** Shared with other drivers. */
  readonly uids: UidRange
  /** Port of the resolver that sandboxes with egress ask; null when there is none. */
  readonly resolverPort: number | null
  /** Processes and threads of one sandbox. */
  readonly pidsMax?: number
}

const pidsMaxDefault = 512
/** Limits of a sandbox that belongs to no Version yet: enough to boot any runtime. */
const unbound = { memoryMib: 256, tmpMib: 16 }

/** Sandboxed processes by way of the privileged launcher. */
export class ProcessDriver implements Driver {
  readonly name = 'process'
  readonly #options: ProcessDriverOptions
  readonly #launcher: LauncherClient
  readonly #uids: UidRange
  readonly #pairs: ChannelPairs
  readonly #alive = new Map<string, ProcessSandbox>()
  #enforced: readonly EnforcedFeature[] = []

  constructor(options: ProcessDriverOptions) {
    this.#options = options
    this.#launcher = options.launcher
    this.#uids = options.uids
    this.#pairs = new ChannelPairs(options.runFolder)
  }

  get capabilities(): Capabilities {
    const pause = this.#enforced.some(({ feature, enforced }) => feature === 'freezer' && enforced)
    return { ...folderBound, pause, enforced: this.#enforced }
  }

  async probe(): Promise<ProbeResult> {
    try {
      const reply = await this.#launcher.request('probe')
      this.#enforced = featuresOf(reply)
      const missing = this.#enforced.filter(({ enforced }) => !enforced).map(({ feature }) => feature)
      const detail =
        missing.length === 0
          ? 'A sandbox was made with every isolation feature enforced.'
          : `A sandbox was made; not enforced here: ${missing.join(', ')}.`
      return { works: true, detail, capabilities: this.capabilities }
    } catch (error) {
      const detail = error instanceof Error ? error.message : String(error)
      return { works: false, detail, fix: 'Run `hearth doctor` as root.', capabilities: this.capabilities }
    }
  }

  async boot(spec: BootSpec, options: { signal?: AbortSignal; deadlineMs: number }): Promise<Sandbox> {
    const undo = new Undo()
    // A spawn can be faster than the shortest timer: what is late already must not begin.
    if (options.deadlineMs <= Date.now() || options.signal?.aborted === true)
      throw new AppError('timeout', `Cannot boot instance "${spec.instanceId}": the deadline passed.`)
    const booting = this.#boot(spec, undo)
    try {
      return await inTime(booting, spec.instanceId, options)
    } catch (error) {
      await this.#undo(undo, spec.instanceId)
      // What still comes up after the deadline must go as well.
      void booting.then((late) => late.kill()).catch(() => this.#undo(undo, spec.instanceId))
      throw error
    }
  }

  async recover(handle: Sandbox['handle']): Promise<Sandbox | null> {
    const id = handle.state['instance']
    // Process sandboxes die with the agent; what this one does not hold is gone or going.
    return typeof id === 'string' ? (this.#alive.get(id) ?? null) : null
  }

  async close(): Promise<void> {
    await Promise.all([...this.#alive.values()].map((sandbox) => sandbox.kill().catch(() => {})))
    await this.#pairs.close()
  }

  async #boot(spec: BootSpec, undo: Undo): Promise<Sandbox> {
    const { instanceId, runtime } = spec
    // 1. A uid of its own.
    const uid = this.#uids.take()
    undo.add('uid', () => this.#uids.give(uid))
    // 2. Two sockets for the launcher to connect to.
    const pair = await this.#pairs.take()
    undo.add('channels', async () => closePair(pair))
    // 3. The sandbox, with the runtime exec'd in it.
    undo.add('sandbox', async () => void (await this.#launcher.request('kill', { instance: instanceId })))
    const spawned = await this.#launcher.request('spawn', {
      instance: instanceId,
      folder: spec.folder,
      channel: pair.runtime.path,
      supervisor: pair.supervisor.path,
      uid,
      argv: runtimeArgv(inSandbox(runtime), { shimFolder: shimMount, bridge: join(shimMount, 'hearth-guest') }),
      env: runtimeEnv(inSandbox(runtime), spec.epoch),
      binds: this.#binds(spec),
      etc: this.#options.etcFolder,
      pidsMax: this.#options.pidsMax ?? pidsMaxDefault,
      ...unbound,
    })
    const channels = { runtime: await pair.runtime.accept(), supervisor: await pair.supervisor.accept() }
    undo.disarm()
    this.#pairs.prepareSoon()
    return this.#adopt(instanceId, { channels, uid, networkMs: numberOf(spawned, 'networkMs') })
  }

  async #undo(undo: Undo, instanceId: string): Promise<void> {
    await undo.run().catch((cause: unknown) => {
      this.#options.logger.error('driver.boot.undo.failed', { instanceId, error: String(cause) })
    })
  }

  #binds({ runtime }: BootSpec): { source: string; target: string }[] {
    const shim = runtime.isBridged ? 'provided' : runtime.family
    const binds = [{ source: join(this.#options.shimFolder, shim), target: shimMount }]
    if (runtime.prefix !== '') binds.push({ source: runtime.prefix, target: inSandbox(runtime).prefix })
    for (const folder of runtime.mounts ?? []) binds.push({ source: folder, target: folder })
    return binds
  }

  #adopt(instanceId: string, of: { channels: SandboxChannels; uid: number; networkMs: number }): Sandbox {
    const { resolverPort } = this.#options
    const { uid, channels, networkMs } = of
    const sandbox = new ProcessSandbox({ launcher: this.#launcher, instanceId, channels, networkMs, resolverPort })
    this.#alive.set(instanceId, sandbox)
    const ended = (): void => {
      this.#alive.delete(instanceId)
      this.#uids.give(uid)
    }
    void sandbox.exited.then(ended)
    return sandbox
  }
}

class ProcessSandbox implements Sandbox {
  readonly channels: SandboxChannels
  readonly networkMs: number
  readonly handle: Sandbox['handle']
  readonly exited: Promise<Exit>
  readonly #launcher: LauncherClient
  readonly #instance: string
  readonly #resolverPort: number | null
  #end: (exit: Exit) => void = () => {}
  #ended: Exit | null = null
  #killing: Promise<Exit> | null = null

  constructor(options: {
    launcher: LauncherClient
    instanceId: string
    channels: SandboxChannels
    networkMs: number
    resolverPort: number | null
  }) {
    this.#launcher = options.launcher
    this.#instance = options.instanceId
    this.#resolverPort = options.resolverPort
    this.channels = options.channels
    this.networkMs = options.networkMs
    this.handle = { driver: 'process', version: 1, state: { instance: options.instanceId } }
    this.exited = new Promise((resolve) => (this.#end = resolve))
    this.#launcher.onExited(options.instanceId, (exit) => this.#onExited(exit))
  }

  async bind(spec: BindSpec): Promise<BoundFiles> {
    const bound = await this.#launcher.request('bind', {
      instance: this.#instance,
      code: spec.codeFolder,
      rootUser: spec.rootUser ?? null,
      cache: spec.cacheFolder,
      layers: spec.layerFolders,
      memoryMib: spec.memoryMib,
      cpuShare: spec.cpuShare,
      tmpMib: spec.ephemeralMib,
      network: spec.network,
      resolver: this.#resolverPort === null ? null : { port: this.#resolverPort },
    })
    const files = { taskRoot: '/var/task', cacheRoot: spec.cacheFolder === null ? null : '/var/cache/hearth' }
    return spec.network === 'egress' ? { ...files, networkMs: numberOf(bound, 'networkMs') } : files
  }

  async pause(): Promise<void> {
    await this.#launcher.request('freeze', { instance: this.#instance })
  }

  async resume(): Promise<void> {
    await this.#launcher.request('thaw', { instance: this.#instance })
  }

  kill(): Promise<Exit> {
    this.#killing ??= this.#kill()
    return this.#killing
  }

  async stats({ resetPeak = false }: { resetPeak?: boolean } = {}): Promise<Usage> {
    const reply = await this.#launcher.request('stats', { instance: this.#instance, resetPeak })
    return {
      memoryBytes: numberOf(reply, 'memoryBytes'),
      memoryPeakBytes: numberOf(reply, 'memoryPeakBytes'),
      cpuMs: numberOf(reply, 'cpuMs'),
      ephemeralBytes: numberOf(reply, 'tmpBytes'),
      ephemeralFull: reply['tmpFull'] === true,
    }
  }

  async #kill(): Promise<Exit> {
    for (const channel of [this.channels.runtime, this.channels.supervisor]) channel?.destroy()
    // The exited event of a sandbox that ended by itself tells more than the reply about what is left of it.
    if (this.#launcher.isClosed) return this.exited
    const reply = await this.#launcher.request('kill', { instance: this.#instance })
    this.#finish(exitOf(reply))
    return this.exited
  }

  /** It ended by itself: what is left of it is freed, then it counts as gone. */
  #onExited(exit: Exit): void {
    this.#ended = exit
    this.#end(exit)
    if (!this.#launcher.isClosed)
      this.#killing ??= this.#launcher.request('kill', { instance: this.#instance }).then(
        () => exit,
        () => exit,
      )
  }

  #finish(exit: Exit): void {
    this.#launcher.forget(this.#instance)
    this.#ended ??= exit
    this.#end(this.#ended)
  }
}

function featuresOf(reply: Reply): EnforcedFeature[] {
  const list: unknown = reply['features']
  if (!Array.isArray(list)) return []
  return list.flatMap((item: unknown) => {
    if (typeof item !== 'object' || item === null || !('feature' in item) || typeof item.feature !== 'string') return []
    const detail = 'detail' in item && typeof item.detail === 'string' ? item.detail : ''
    return [{ feature: item.feature, enforced: 'enforced' in item && item.enforced === true, detail }]
  })
}

function numberOf(reply: Reply, name: string): number {
  const value = reply[name]
  return typeof value === 'number' ? value : 0
}
