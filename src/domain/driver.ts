import type { Duplex } from 'node:stream'
import type { RuntimeBuild } from './runtime.ts'
import type { NetworkMode } from './function.ts'

/** What a driver can and cannot do here: data read by the scheduler and shown in `doctor`, `/v1/nodes` and the console. */
export interface Capabilities {
  readonly snapshots: boolean
  readonly pause: boolean
  /** Every isolation feature by name, whether it is enforced here, and the reason when it is not. */
  readonly enforced: readonly EnforcedFeature[]
}

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
}

/** Limits and files of the Version that an Instance is bound to for life. */
export interface BindSpec {
  readonly codeFolder: string
  /** Read-only bytecode cache, if the Version has one; seen at /var/cache/hearth. */
  readonly cacheFolder: string | null
  readonly layerFolders: readonly string[]
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
}

export interface Exit {
  readonly code: number | null
  readonly signal: string | null
  readonly oom: boolean
}

export interface Usage {
  readonly memoryBytes: number
  readonly memoryPeakBytes: number
  readonly cpuMs: number
  readonly ephemeralBytes: number
  readonly ephemeralFull: boolean
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
  /** The sandbox of a handle if it is still alive, else null; what is left of a dead one is removed. */
  recover(handle: Sandbox['handle']): Promise<Sandbox | null>
  close(): Promise<void>
}
