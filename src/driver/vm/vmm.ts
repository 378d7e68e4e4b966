import type { Duplex } from 'node:stream'
import type { Exit, MachinesUsage, VmmFacts } from '../../domain/driver.ts'
import type { KernelBuild } from '../../domain/image.ts'
import type { Snapshot } from '../../domain/snapshot.ts'

/** The three byte streams into a machine; docs/reference/guest-protocol.md says what travels on each. */
export const portNames = ['init', 'supervisor', 'runtime'] as const
export type PortName = (typeof portNames)[number]

/** A machine to make. Paths are of files on this host, all read-only but what a snapshot is saved to. */
export interface MachineSpec {
  readonly instanceId: string
  readonly kernel: KernelBuild
  readonly rootImage: string
  readonly codeImage: string
  /** The machine's own memory: size class plus `vmOverheadMib`. */
  readonly memoryMib: number
  /** For the guest's first HELLO, by the kernel's command line. */
  readonly epoch: string
  /** Where `save` will write; null when it is not going to be asked. */
  readonly saveTo: SnapshotFiles | null
}

/** A machine to make from a snapshot. */
export interface CloneSpec {
  readonly instanceId: string
  readonly rootImage: string
  readonly codeImage: string
  readonly snapshot: Snapshot
}

/** What a snapshot consists of on disk. */
export interface SnapshotFiles {
  readonly memory: string
  readonly state: string
}

/** The guest's address in the network it was given. */
export interface GuestNetwork {
  readonly address: string
  readonly gateway: string
  readonly nameServer: string
}

/** One machine. Its process outlives this object: `Vmm.recover` finds it again by `state`. */
export interface Machine {
  /** What `recover` needs; goes into the Sandbox's handle. */
  readonly state: Readonly<Record<string, unknown>>
  /** The VMM's own end: exit code or signal of its process, which says little of the guest. */
  readonly exited: Promise<Exit>
  connect(port: PortName): Promise<Duplex>
  /** Ports can be connected to while it is paused. Whoever takes it over must do so then: a guest that runs between two hosts may see neither go nor come. */
  readonly connectsPaused: boolean
  /** Puts the code image in place of the placeholder. Only while the guest has not mounted it. */
  setCode(image: string): Promise<void>
  connectNetwork(): Promise<GuestNetwork>
  /** Stops the processors; they do nothing until `resume`, which does nothing to a machine that runs. */
  pause(): Promise<void>
  resume(): Promise<void>
  /** Writes state and memory to the files named at boot, and ends the machine. */
  save(): Promise<void>
  kill(): Promise<Exit>
  /** What it takes of the host. */
  memoryBytes(): Promise<number>
  /** What it takes of the host, and what its guest says it could still use of its memory; null where the VMM cannot ask it. */
  usage(): Promise<Pick<MachinesUsage, 'memoryBytes' | 'guestAvailableBytes'>>
  /** What the VMM left to say of its end: its log, counters of trouble, standard error. Resolves after `exited`. */
  lastWords(): Promise<string>
}

export interface SpareVmm {
  readonly isAlive: boolean
  readonly ended: Promise<unknown>
  kill(): Promise<void>
}

export type Accelerator = VmmFacts['accelerator']

/** How machines are made: qemu, firecracker. One process per machine, started by the launcher. */
export interface Vmm {
  readonly name: 'qemu' | 'firecracker'
  readonly version: string
  /** To be tried in this order; the driver settles on the first that boots a guest. */
  readonly accelerators: readonly Accelerator[]
  use(accelerator: Accelerator): void
  /** What machines are made on now. */
  readonly accelerator: Accelerator
  /** What of the VMM and this host a snapshot depends on. */
  key(): Promise<Readonly<Record<string, string>>>
  boot(spec: MachineSpec, undo: (name: string, step: () => Promise<void>) => void): Promise<Machine>
  restore(
    spec: CloneSpec,
    spare: SpareVmm | null,
    undo: (name: string, step: () => Promise<void>) => void,
  ): Promise<Machine>
  /** A VMM that waits for the state of `snapshot`. */
  prespawn?(spec: CloneSpec): Promise<SpareVmm>
  /** Makes `snapshot` ready to be restored on this node (memory loaded, files checked). */
  load(snapshot: Snapshot): Promise<void>
  forget(snapshot: Snapshot): Promise<void>
  /** A machine of an earlier platform, held from before this first waits; null when it is gone. Throws driver_failed. */
  recover(
    state: Readonly<Record<string, unknown>>,
    undo: (name: string, step: () => Promise<void>) => void,
  ): Promise<Machine | null>
}

/** What kernel, init and page tables take beside the runtime: measured 18-24 MiB. */
export const vmOverheadMib = 32

/** One guest must not take a disk from the others: for each of its drives, with a second's worth of burst. */
export const driveLimits = { bytesPerSecond: 200_000_000, operationsPerSecond: 5_000 } as const
