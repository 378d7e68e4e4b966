import assert from 'node:assert'
import type {
  BindSpec,
  BootSpec,
  BoundFiles,
  Capabilities,
  Driver,
  Exit,
  ProbeResult,
  Sandbox,
  SandboxChannels,
  Usage,
} from '../../domain/driver.ts'
import { folderBound } from '../../domain/driver.ts'
import { AppError } from '../../domain/error.ts'
import { GuestPeer } from '../guest-peer.ts'
import { runtimeArgv, runtimeEnv } from '../runtime-command.ts'
import { execFile, spawn, type ChildProcess } from 'node:child_process'
import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { Duplex, duplexPair } from 'node:stream'

export interface PlainDriverOptions {
  /** Folder with the runtimes' shims: `node/bootstrap.cjs`, `python/bootstrap.py`. */
  readonly shimFolder: string
}

/** What the launcher's probe names as root, in its order (docs/reference/launcher-protocol.md). */
export const isolationFeatures = [
  'pid_ns',
  'mount_ns',
  'net_ns',
  'ipc_ns',
  'uts_ns',
  'private_root',
  'memory_limit',
  'cpu_share',
  'pids_limit',
  'freezer',
  'own_uid',
  'no_capabilities',
  'no_new_privs',
  'seccomp',
  'landlock',
  'egress',
] as const

const why = 'plain process: no launcher on this system'

/** Plain child processes, for macOS, Windows and machines where the launcher cannot run. NO ISOLATION: a function can do what the platform's
 *  user can do. Kills the whole process tree; enforces no limit but the platform's own deadlines. */
export class PlainDriver implements Driver {
  readonly name = 'process'
  readonly capabilities: Capabilities = {
    ...folderBound,
    pause: false,
    enforced: isolationFeatures.map((feature) => ({ feature, enforced: false, detail: why })),
  }
  readonly #shimFolder: string
  readonly #alive = new Set<PlainSandbox>()

  constructor(options: PlainDriverOptions) {
    this.#shimFolder = options.shimFolder
  }

  async probe(): Promise<ProbeResult> {
    const detail = 'NO ISOLATION: functions run as plain processes of this user.'
    return { works: true, detail, fix: 'Run Hearth on Linux as root for sandboxes.', capabilities: this.capabilities }
  }

  async boot(spec: BootSpec, options: { signal?: AbortSignal; deadlineMs: number }): Promise<Sandbox> {
    if (options.deadlineMs <= Date.now() || options.signal?.aborted === true)
      throw new AppError('timeout', `Cannot boot instance "${spec.instanceId}": the deadline passed.`)
    const home = join(spec.folder, 'tmp')
    await mkdir(home, { recursive: true, mode: 0o700 })
    try {
      const sandbox = new PlainSandbox(spec, await this.#spawn(spec, home))
      this.#alive.add(sandbox)
      void sandbox.exited.then(() => this.#alive.delete(sandbox))
      return sandbox
    } catch (error) {
      await rm(spec.folder, { recursive: true, force: true })
      throw error
    }
  }

  async recover(handle: Sandbox['handle']): Promise<Sandbox | null> {
    // Those of an earlier platform have lost their channels, pipes of a process that is gone, and end by themselves.
    return [...this.#alive].find((sandbox) => sandbox.handle.state['pid'] === handle.state['pid']) ?? null
  }

  async close(): Promise<void> {
    await Promise.all([...this.#alive].map((sandbox) => sandbox.kill()))
  }

  async #spawn({ runtime, epoch, instanceId }: BootSpec, home: string): Promise<ChildProcess> {
    // Its servers on 127.0.0.1 need a network of their own.
    if (runtime.isBridged)
      throw new AppError(
        'driver_failed',
        'Plain processes run Node and Python handlers only: everything else needs a sandbox.',
      )
    const shimFolder = join(this.#shimFolder, runtime.family)
    const [file = '', ...args] = runtimeArgv(runtime, { shimFolder, bridge: '' })
    const child = spawn(file, args, {
      cwd: home,
      env: { ...runtimeEnv(runtime, epoch), HOME: home, TMPDIR: home, HEARTH_FD: '3' },
      stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
      // An own process group, so that its children can be killed with it.
      detached: process.platform !== 'win32',
      windowsHide: true,
    })
    await new Promise<void>((resolve, reject) => {
      child.once('spawn', resolve)
      child.once('error', (cause) =>
        reject(new AppError('driver_failed', `Cannot boot instance "${instanceId}": ${cause.message}`, { cause })),
      )
    })
    return child
  }
}

class PlainSandbox implements Sandbox {
  readonly channels: SandboxChannels
  readonly handle: Sandbox['handle']
  readonly exited: Promise<Exit>
  readonly #child: ChildProcess
  readonly #folder: string
  #killing: Promise<Exit> | null = null

  constructor(spec: BootSpec, child: ChildProcess) {
    this.#child = child
    this.#folder = spec.folder
    this.handle = { driver: 'process', version: 1, state: { pid: child.pid ?? 0 } }
    const [supervisor, peerEnd] = duplexPair()
    const peer = new GuestPeer(peerEnd, {
      epoch: spec.epoch,
      role: 'supervisor',
      runtime: 'plain',
      version: '0',
      handlers: {},
    })
    child.stdout?.on('data', (text: Buffer) => peer.log(0, 1, text))
    child.stderr?.on('data', (text: Buffer) => peer.log(0, 2, text))
    const channel = child.stdio[3]
    assert(channel instanceof Duplex, 'fd 3 is a socket pair')
    this.channels = { runtime: channel, supervisor }
    this.exited = new Promise((resolve) =>
      child.once('exit', (code, signal) => {
        peer.close()
        resolve({ code, signal, oom: false })
      }),
    )
  }

  async bind(spec: BindSpec): Promise<BoundFiles> {
    return { taskRoot: spec.codeFolder, cacheRoot: spec.cacheFolder }
  }

  async pause(): Promise<void> {}

  async resume(): Promise<void> {}

  kill(): Promise<Exit> {
    this.#killing ??= this.#kill()
    return this.#killing
  }

  async stats(): Promise<Usage> {
    return { memoryBytes: 0, memoryPeakBytes: 0, cpuMs: 0, ephemeralBytes: 0, ephemeralFull: false }
  }

  async #kill(): Promise<Exit> {
    const { pid } = this.#child
    if (pid !== undefined) killTree(pid)
    this.channels.runtime.destroy()
    const exit = await this.exited
    await rm(this.#folder, { recursive: true, force: true, maxRetries: 3 })
    return exit
  }
}

/** Ends a process and everything it started that stayed in its group (Windows: in its tree). */
function killTree(pid: number): void {
  if (process.platform === 'win32') {
    // It reports a process that is gone already as an error: nothing to do about that.
    execFile('taskkill', ['/pid', String(pid), '/T', '/F'], () => {})
    return
  }
  try {
    process.kill(-pid, 'SIGKILL')
  } catch {
    // No such group: all of it has ended.
  }
}
