import { once } from 'node:events'
import { closeSync, constants, openSync } from 'node:fs'
import { mkdir, readdir, rm, symlink } from 'node:fs/promises'
import net from 'node:net'
import { join } from 'node:path'
import type { Exit } from '../../domain/driver.ts'
import { AppError } from '../../domain/error.ts'
import type { Snapshot } from '../../domain/snapshot.ts'
import { exitOf, type LauncherClient, type Reply } from '../launcher-client.ts'
import type { UidRange } from '../uid-range.ts'
import type { GuestNetwork } from './vmm.ts'

/** A VMM process to start; descriptors follow one another from 3 in the order listen, files, memory, tap. */
export interface VmSpawn {
  readonly program: string
  readonly argv: readonly string[]
  /** Names of sockets in the Instance's run folder. */
  readonly listen: readonly string[]
  /** `connect`: a UNIX socket that this process listens on. */
  readonly files: readonly { readonly path: string; readonly access: 'read' | 'write' | 'connect' }[]
  readonly memory: { readonly create: string; readonly mib: number } | { readonly template: string } | null
  /** The machine's memory; the VMM's cgroup gets what it needs itself on top. */
  readonly memoryMib: number
  readonly hasKvm: boolean
}

/** A file that a jailed VMM sees under `name` in its root. */
export interface JailFile {
  readonly path: string
  readonly name: string
  readonly access: 'read' | 'write' | 'pipe'
}

export interface VmJail {
  readonly jailer: string
  readonly program: string
  readonly files: readonly JailFile[]
  /** Name of its API socket in the jail. */
  readonly apiSocket: string
  readonly memoryMib: number
}

export interface VmHostOptions {
  readonly launcher: LauncherClient
  readonly uids: UidRange
  /** 0700 folder of the platform's for sockets; survives a restart, so that machines can be found again. */
  readonly runFolder: string
  readonly resolverPort: number | null
  /** Traffic of one VM in each direction. */
  readonly bytesPerSecond: number
}

/** Whole CPU of a machine under one processor; `bind` cannot change it yet. */
const cpuShare = 1024
/** Threads of a VMM: main loop, processor, workers for disks. */
const pidsMax = 64
/** VMM heap and, under TCG, translated code: measured 20-31 MiB at rest, translation buffers grow with the guest's code. */
const vmmOverheadMib = 384
const connectMsMax = 2_000

/** Machines' processes by way of the privileged launcher (docs/reference/launcher-protocol.md). */
export class VmHost {
  readonly #options: VmHostOptions
  /** The run folder, open: by it sockets have short names, however deep the folder lies. An address holds 107 bytes. */
  readonly #folder: number

  /** Instances of this platform, by their run folder's name. */
  readonly #own = new Map<string, VmProcess>()
  /** Uids of machines that an earlier platform left, by instance, until they are adopted or have ended. */
  readonly #survivors = new Map<string, number>()

  constructor(options: VmHostOptions) {
    this.#options = options
    this.#folder = openSync(options.runFolder, constants.O_RDONLY | constants.O_DIRECTORY)
  }

  /** A uid and a run folder for a VMM that `start` will start, or `abandon` give back. */
  async reserve(instanceId: string): Promise<VmProcess> {
    const vm = this.#hold(instanceId, this.#options.uids.take())
    try {
      await mkdir(vm.folder, { mode: 0o700 })
      return vm
    } catch (error) {
      await vm.abandon()
      throw error
    }
  }

  /** Finds out what an earlier platform left, so that nothing new gets the uid of any of it. */
  async survey(): Promise<void> {
    const { launcher, uids } = this.#options
    const { instances } = await launcher.request('list')
    for (const each of Array.isArray(instances) ? (instances as readonly Reply[]) : []) {
      const { instance, kind, uid } = each
      if (kind !== 'vm' || typeof instance !== 'string' || typeof uid !== 'number') continue
      if (!uids.claim(uid)) continue
      this.#survivors.set(instance, uid)
      launcher.onExited(instance, () => this.#survivors.delete(instance) && uids.give(uid))
    }
  }

  /** Takes over a machine that `survey` found, held from before this first waits; null when it is gone. `root`: of its jail, if it has one. */
  async adopt(state: Readonly<Record<string, unknown>>): Promise<{ vm: VmProcess; root: string | null } | null> {
    const { launcher } = this.#options
    const instance = String(state['instance'])
    const uid = this.#survivors.get(instance)
    if (uid === undefined) return null
    this.#survivors.delete(instance)
    const vm = this.#hold(instance, uid)
    try {
      const { root } = await launcher.request('vm_adopt', { instance })
      return { vm, root: typeof root === 'string' ? root : null }
    } catch (error) {
      if (launcher.isClosed) throw error
      // The launcher does not know it any more: it has ended, and what was left of it is freed.
      await vm.abandon()
      return null
    }
  }

  /** Ends every machine of an earlier platform that was not adopted, and removes what is left of its sockets. Returns their names. */
  async sweep(): Promise<readonly string[]> {
    const { launcher, runFolder } = this.#options
    const { instances } = await launcher.request('vm_sweep')
    for (const name of await readdir(runFolder))
      if (!this.#own.has(name)) await rm(join(runFolder, name), { recursive: true, force: true })
    return Array.isArray(instances) ? instances.map(String) : []
  }

  /** Ends what is still there: machines that were coming up, whose drivers do not have them yet. */
  async close(): Promise<void> {
    const ending = [...this.#own.values()].map((vm) => vm.kill())
    await Promise.allSettled(ending)
    closeSync(this.#folder)
  }

  #hold(instanceId: string, uid: number): VmProcess {
    const sockets = `/proc/self/fd/${this.#folder}/${instanceId}`
    const folder = join(this.#options.runFolder, instanceId)
    const vm = new VmProcess({ ...this.#options, instanceId, uid, folder, sockets })
    this.#own.set(instanceId, vm)
    void vm.exited.then(() => this.#own.delete(instanceId))
    return vm
  }

  /** Memory of `snapshot` into the launcher, where clones share it. */
  async loadTemplate(snapshot: Snapshot, path: string): Promise<void> {
    await this.#options.launcher.request('vm_template', { name: snapshot.id, path })
  }

  async forgetTemplate(snapshot: Snapshot): Promise<void> {
    await this.#options.launcher.request('vm_forget', { name: snapshot.id })
  }
}

/** One VMM process as the platform holds it. */
export class VmProcess {
  readonly instanceId: string
  readonly uid: number
  readonly folder: string
  /** The same folder for this process, by a short name. */
  readonly #sockets: string
  readonly exited: Promise<Exit>
  /** The last of what it wrote to its standard error, once it has ended. */
  stderr = ''
  readonly #options: VmHostOptions
  #end: (exit: Exit) => void = () => {}
  #killing: Promise<Exit> | null = null
  #hasEnded = false

  constructor(options: VmHostOptions & { instanceId: string; uid: number; folder: string; sockets: string }) {
    this.#options = options
    this.instanceId = options.instanceId
    this.uid = options.uid
    this.folder = options.folder
    this.#sockets = options.sockets
    this.exited = new Promise((resolve) => (this.#end = resolve))
    options.launcher.onExited(this.instanceId, (exit, stderr) => {
      this.stderr = stderr
      this.#finish(exit)
    })
  }

  get isAlive(): boolean {
    return !this.#hasEnded
  }

  /** Starts the VMM. Throws driver_failed naming the launcher's step; nothing is left then. */
  async start({ listen, memoryMib, ...spawn }: VmSpawn): Promise<void> {
    try {
      await this.#options.launcher.request('vm_spawn', {
        instance: this.instanceId,
        uid: this.uid,
        ...spawn,
        listen: listen.map((name) => ({ path: join(this.folder, name) })),
        hasTap: true,
        memoryMib: memoryMib + vmmOverheadMib,
        cpuShare,
        pidsMax,
      })
    } catch (error) {
      await this.abandon()
      throw error
    }
  }

  /** Starts the VMM in a jail; its root as this process sees it. Throws driver_failed naming the step. */
  async jail({ memoryMib, ...jail }: VmJail): Promise<string> {
    try {
      const reply = await this.#options.launcher.request('vm_jail', {
        ...{ instance: this.instanceId, uid: this.uid, ...jail },
        ...{ hasTap: true, memoryMib: memoryMib + vmmOverheadMib, cpuShare, pidsMax },
      })
      return text(reply, 'root')
    } catch (error) {
      await this.abandon()
      throw error
    }
  }

  /** Gives the socket `name`, which the VMM made in its jail, to this process's user. */
  async share(name: string): Promise<void> {
    await this.#options.launcher.request('vm_share', { instance: this.instanceId, name })
  }

  /** Of the socket `name` in its run folder, for this process to listen on or connect to. */
  socketPath(name: string): string {
    return join(this.#sockets, name)
  }

  /** Shows the root of its jail as `name` in its run folder, so that its sockets have short names too. */
  async showJail(root: string, name: string): Promise<void> {
    const link = join(this.folder, name)
    await rm(link, { force: true })
    await symlink(root, link)
  }

  /** Connects to the socket `name` in its run folder. Throws driver_failed. */
  async connect(name: string): Promise<net.Socket> {
    const socket = net.connect(this.socketPath(name))
    // Also later: until a link holds the stream nobody else listens for errors, and its end is told by `close`.
    socket.on('error', () => {})
    try {
      await once(socket, 'connect', { signal: AbortSignal.timeout(connectMsMax) })
      return socket
    } catch (cause) {
      socket.destroy()
      const text = cause instanceof Error ? cause.message : String(cause)
      throw new AppError('driver_failed', `Cannot connect to "${name}" of instance "${this.instanceId}": ${text}.`, {
        cause,
        detail: this.stderr,
        retryable: true,
      })
    }
  }

  /** Shows the file `path` to the VMM, read-only, as `/vm/<name>`. */
  async place(name: string, path: string): Promise<string> {
    await this.#options.launcher.request('vm_place', { instance: this.instanceId, name, path })
    return `/vm/${name}`
  }

  async connectNetwork(): Promise<GuestNetwork> {
    const { resolverPort, bytesPerSecond } = this.#options
    const reply = await this.#options.launcher.request('vm_network', {
      instance: this.instanceId,
      network: 'egress',
      resolver: resolverPort === null ? null : { port: resolverPort },
      bytesPerSecond,
    })
    return { address: text(reply, 'address'), gateway: text(reply, 'gateway'), nameServer: text(reply, 'nameServer') }
  }

  /** Of its cgroup. */
  async memoryBytes(): Promise<number> {
    const reply = await this.#options.launcher.request('stats', { instance: this.instanceId, resetPeak: false })
    return typeof reply['memoryBytes'] === 'number' ? reply['memoryBytes'] : 0
  }

  kill(): Promise<Exit> {
    this.#killing ??= this.#kill()
    return this.#killing
  }

  /** Frees what belongs to a process that never was, or is known to be gone. */
  async abandon(): Promise<void> {
    this.#options.launcher.forget(this.instanceId)
    this.#finish({ code: null, signal: 'SIGKILL', oom: false })
    await this.#removed
  }

  async #kill(): Promise<Exit> {
    if (!this.#options.launcher.isClosed) {
      const reply = await this.#options.launcher.request('kill', { instance: this.instanceId })
      this.#options.launcher.forget(this.instanceId)
      this.#finish(exitOf(reply))
    }
    await this.#removed
    return this.exited
  }

  #removed: Promise<void> = Promise.resolve()

  #finish(exit: Exit): void {
    if (this.#hasEnded) return
    this.#hasEnded = true
    this.#options.uids.give(this.uid)
    // A machine that lives on is found again by its sockets.
    if (exit.isLost !== true) this.#removed = rm(this.folder, { recursive: true, force: true })
    this.#end(exit)
  }
}

function text(reply: Reply, name: string): string {
  const value = reply[name]
  if (typeof value !== 'string') throw new AppError('driver_failed', `The launcher gave no ${name}.`)
  return value
}
