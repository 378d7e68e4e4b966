import type { Duplex } from 'node:stream'
import type { RuntimeBuild } from './runtime.ts'
import type { NetworkMode } from './function.ts'
import type { Snapshot, SnapshotKey, SnapshotKind } from './snapshot.ts'

/** What a driver can and cannot do here: data read by the scheduler and shown in `doctor`, `/v1/nodes` and the console. */
export interface Capabilities {
  readonly snapshots: boolean
  readonly pause: boolean
  /** An own kernel for each Instance: what `--isolation vm` asks for. */
  readonly isVm: boolean
  /** What `bind` takes the code from: an unpacked folder, or an erofs image. */
  readonly codeForm: 'folder' | 'image'
  /** Memory is fixed at boot to the smallest of these that holds it (MiB, rising); null where `bind` sets it. */
  readonly memoryClassesMib: readonly number[] | null
  /** What runs the machines, once probed; null for drivers without. */
  readonly vmm: VmmFacts | null
  /** Every isolation feature by name, whether it is enforced here, and the reason when it is not. */
  readonly enforced: readonly EnforcedFeature[]
}

/** What drivers without machines of their own have in common. */
export const folderBound = {
  snapshots: false,
  isVm: false,
  codeForm: 'folder',
  memoryClassesMib: null,
  vmm: null,
} as const satisfies Partial<Capabilities>

export interface VmmFacts {
  readonly name: string
  readonly version: string
  readonly accelerator: 'kvm' | 'tcg'
}

/** The operator's word on isolation, over what each Function asks for. */
export interface IsolationPolicy {
  /** `vm`: every Instance is a microVM; a Function that asks for a process is refused, at deploy and when it is called. */
  readonly demand: 'any' | 'vm'
  /** Functions that ask for nothing may run in emulated machines, which are no security boundary. */
  readonly autoMayEmulate: boolean
}

/** Isolation as each Function asks for it, by the strongest that works. */
export const defaultIsolation: IsolationPolicy = { demand: 'any', autoMayEmulate: false }

export interface EnforcedFeature {
  readonly feature: string
  readonly enforced: boolean
  readonly detail: string
}

export interface ProbeResult {
  readonly works: boolean
  /** One sentence: what was tried and what came of it. */
  readonly detail: string
  /** What the operator can do, when it does not work. */
  readonly fix?: string
  readonly capabilities: Capabilities
}

export interface BootSpec {
  readonly instanceId: string
  /** Sent back in HELLO, so that an old runtime cannot speak for a new Instance. */
  readonly epoch: string
  readonly runtime: RuntimeBuild
  /** 0700 folder of this Instance, made by the driver, removed by `kill`. */
  readonly folder: string
  /** For drivers with memory classes: one of them. Others start small and leave it to `bind`. */
  readonly memoryMib: number
  /** It will be asked for a `snapshot`: its memory is kept where that can be taken from. */
  readonly isForSnapshot: boolean
}

/** Limits and files of the Version that an Instance is bound to for life. */
export interface BindSpec {
  readonly codeFolder: string
  /** erofs with `task/`, `cache/`, `opt/` of this Version, for drivers whose `codeForm` is `image`; null for others. */
  readonly codeImage: string | null
  /** Read-only bytecode cache, if the Version has one; seen at /var/cache/hearth. */
  readonly cacheFolder: string | null
  readonly layerFolders: readonly string[]
  /** The code is a whole file system, of a container's image: it becomes the sandbox's root, with no cache and no layers. Under this name
   *  its program finds itself in `/etc/passwd`. */
  readonly rootUser?: string
  readonly memoryMib: number
  /** Relative weight; 1 vCPU = 1024. */
  readonly cpuShare: number
  readonly network: NetworkMode
  readonly ephemeralMib: number
}

/** Where the runtime finds what `bind` placed. */
export interface BoundFiles {
  readonly taskRoot: string
  readonly cacheRoot: string | null
  /** What its way into a network took, at the end of `bind`; absent where that was done before. */
  readonly networkMs?: number
}

export interface Exit {
  readonly code: number | null
  readonly signal: string | null
  readonly oom: boolean
  /** It may live on: who held it is gone. Only a machine can, and its next platform finds it by its handle. */
  readonly isLost?: true
}

export interface Usage {
  readonly memoryBytes: number
  readonly memoryPeakBytes: number
  readonly cpuMs: number
  readonly ephemeralBytes: number
  readonly ephemeralFull: boolean
  /** Of a machine, what it takes of this host as the host counts it: its guest may say what it likes of itself, and frees what the host does not get back. */
  readonly hostBytes?: number
}

/** What a driver's machines take of this host together. */
export interface MachinesUsage {
  readonly machines: number
  /** Of the VMM processes, as the host counts them. */
  readonly memoryBytes: number
  /** What the guests say they could still use of theirs; null where no VMM can ask them. */
  readonly guestAvailableBytes: number | null
}

/** Two frame channels lead into a Sandbox: the runtime's, and its supervisor's (PID 1: raw output as LOG, OPEN for host services). */
export interface SandboxChannels {
  readonly runtime: Duplex
  readonly supervisor: Duplex | null
}

export interface Sandbox {
  readonly channels: SandboxChannels
  /** Opaque, versioned: what `recover` needs after a restart of the agent. */
  readonly handle: { readonly driver: string; readonly version: 1; readonly state: Readonly<Record<string, unknown>> }
  /** Part of `boot` that taking or making its network took; absent where that cannot be told. */
  readonly networkMs?: number
  /** Resolves once, when nothing of the sandbox runs any more. */
  readonly exited: Promise<Exit>
  /** booted -> belongs to a Version. Throws driver_failed. */
  bind(spec: BindSpec): Promise<BoundFiles>
  pause(): Promise<void>
  resume(): Promise<void>
  /** Ends every process of the sandbox and frees what it held; resolves when that is done. Safe to call twice. */
  kill(): Promise<Exit>
  stats(options?: { resetPeak?: boolean }): Promise<Usage>
}

/** How Instances are isolated. Implementations: driver/fake, driver/process; contract suite: test/contract/driver.contract.ts. */
export interface Driver {
  readonly name: string
  /** Finds out by doing, not by looking. */
  probe(): Promise<ProbeResult>
  readonly capabilities: Capabilities
  /** A sandbox whose runtime has been started; its HELLO comes over `channels.runtime`.
   *  Throws driver_failed (naming the step), timeout (`deadlineMs`, epoch ms, passed), capacity (no uid, no memory). A failed boot leaves nothing behind. */
  boot(spec: BootSpec, options: { signal?: AbortSignal; deadlineMs: number }): Promise<Sandbox>
  /** What a snapshot taken now of `spec` would be keyed by. With `snapshots` only, as the four below. */
  snapshotKey?(spec: SnapshotSpec): Promise<SnapshotKey>
  /** Saves `sandbox`, booted `isForSnapshot` and made quiet over its channels, in `folder`, and ends it.
   *  Throws driver_failed, capacity (disk full); the folder is removed then. */
  snapshot?(sandbox: Sandbox, options: { folder: string; kind: SnapshotKind; key: SnapshotKey }): Promise<Snapshot>
  /** A new sandbox from `snapshot`, with clock, randomness and name of its own: HELLO with `spec.epoch` comes over `channels.runtime` as after a boot.
   *  Throws driver_failed (naming the step), timeout, capacity. */
  restore?(
    snapshot: Snapshot,
    spec: RestoreSpec,
    options: { signal?: AbortSignal; deadlineMs: number },
  ): Promise<Sandbox>
  /** A process that waits to become a restored machine of `snapshot`: half of a restore's time, paid ahead. */
  prespawn?(snapshot: Snapshot, spec: Omit<RestoreSpec, 'prespawned' | 'epoch'>): Promise<Prespawned>
  /** Forgets what it holds in memory of a snapshot that will not be restored again. */
  forgetSnapshot?(snapshot: Snapshot): Promise<void>
  /** Takes over what an earlier agent left: HELLO with `spec.epoch` comes over `channels.runtime` as after a restore. Null when it is gone; what is left of it
   *  is removed. One that cannot go on is killed. `deadlineMs` is put off by the time in which it waits for other machines' turns. It is held before this first waits: machines that nobody asked for by then may be swept.
   *  Throws driver_failed (another VMM, accelerator or image: named; it does not answer), timeout. */
  recover(
    handle: Sandbox['handle'],
    spec: RecoverSpec,
    options: { signal?: AbortSignal; deadlineMs: number },
  ): Promise<Sandbox | null>
  /** Of drivers that make machines. */
  usage?(): Promise<MachinesUsage>
  close(): Promise<void>
}

/** What decides a snapshot's key beside the machine it is made on. */
export interface SnapshotSpec {
  readonly runtime: RuntimeBuild
  readonly memoryMib: number
  /** Image of the code in it, for a function snapshot. */
  readonly codeImage: string | null
}

export interface RestoreSpec {
  readonly instanceId: string
  readonly epoch: string
  readonly runtime: RuntimeBuild
  readonly folder: string
  /** The code that a function snapshot has mounted; null for a runtime snapshot, which gets its code by `bind`. */
  readonly codeImage: string | null
  /** Of this snapshot and of this `instanceId`; used up. */
  readonly prespawned?: Prespawned
}

export interface RecoverSpec {
  readonly epoch: string
  /** What its root image must be of. */
  readonly runtime: RuntimeBuild
}

/** Belongs to nobody: no handle, no channels. `restore` makes it a Sandbox, `kill` ends it. */
export interface Prespawned {
  readonly snapshotId: string
  /** It can still be restored to: neither used up nor ended. */
  readonly isAlive: boolean
  /** Resolves once its process has ended, whether it was used or not. */
  readonly ended: Promise<unknown>
  /** Safe to call twice, and after it was used up, when it does nothing. */
  kill(): Promise<void>
}
