import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { AppError } from '../../domain/error.ts'
import type { Snapshot } from '../../domain/snapshot.ts'
import { guestCommandLine } from '../vm/guest-command-line.ts'
import { processorDigest } from '../vm/processor.ts'
import type { JailFile, VmHost } from '../vm/vm-host.ts'
import {
  driveLimits,
  vmOverheadMib,
  type Accelerator,
  type CloneSpec,
  type Machine,
  type MachineSpec,
  type SnapshotFiles,
  type SpareVmm,
  type Vmm,
} from '../vm/vmm.ts'
import type { RateLimiter } from './api-types.ts'
import { FirecrackerSpare, jailLink, names, RunningFirecracker } from './running-firecracker.ts'
import { openVmmPipes } from './vmm-pipes.ts'

export interface FirecrackerOptions {
  readonly host: VmHost
  readonly jailer: string
  readonly program: string
  readonly version: string
  /** What really runs the guest's code: tests put a simulator in Firecracker's place, which emulates. */
  readonly accelerator?: Accelerator
}

type Undo = Parameters<Vmm['boot']>[1]

/** Firecracker's own words for the kernel, since `boot_args` replaces them all. */
const kernelWords = [
  'quiet',
  'loglevel=1',
  'reboot=k',
  'panic=1',
  '8250.nr_uarts=0',
  'i8042.noaux',
  'i8042.nokbd',
  'pci=off',
  'swiotlb=noforce',
]
const rateLimiter: RateLimiter = {
  bandwidth: { size: driveLimits.bytesPerSecond, refill_time: 1_000 },
  ops: { size: driveLimits.operationsPerSecond, refill_time: 1_000 },
}
const guestMac = '02:48:54:48:00:01'

/** Machines by Firecracker in its jailer. Order of calls: Firecracker docs/getting-started and docs/snapshotting; only logger and metrics may
 *  precede a load, and what is not in a snapshot (rate limits, metrics) is set again. Memory comes from the File backend; `mem_backend` leaves room for Uffd. */
export class FirecrackerVmm implements Vmm {
  readonly name = 'firecracker'
  readonly accelerator: Accelerator
  readonly accelerators: readonly Accelerator[]
  readonly version: string
  readonly #options: FirecrackerOptions

  constructor(options: FirecrackerOptions) {
    this.#options = options
    this.version = options.version
    this.accelerator = options.accelerator ?? 'kvm'
    this.accelerators = [this.accelerator]
  }

  /** There is no other. */
  use(): void {}

  async key(): Promise<Readonly<Record<string, string>>> {
    return {
      vmm: `firecracker ${this.version}`,
      accelerator: this.accelerator,
      cpu: await processorDigest(),
      devices: 'root,code,eth0,vsock,entropy,balloon',
    }
  }

  async boot(spec: MachineSpec, undo: Undo): Promise<Machine> {
    const { kernel, saveTo, memoryMib, epoch } = spec
    const machine = await this.#jail(spec, undo, [
      { path: kernel.vmlinux, name: 'kernel', access: 'read' },
      ...(kernel.initramfs === null ? [] : [{ path: kernel.initramfs, name: 'initramfs', access: 'read' } as const]),
      { path: spec.rootImage, name: 'root', access: 'read' },
      { path: spec.codeImage, name: 'code', access: 'read' },
      ...(saveTo === null ? [] : saveFiles(saveTo)),
    ])
    const { api } = machine
    await api.send('PUT /machine-config', { vcpu_count: 1, mem_size_mib: memoryMib, smt: false })
    await api.send('PUT /boot-source', {
      kernel_image_path: 'kernel',
      ...(kernel.initramfs !== null && { initrd_path: 'initramfs' }),
      boot_args: guestCommandLine(wordsFor(kernel), epoch),
    })
    const drive = { is_read_only: true, rate_limiter: rateLimiter }
    await api.send('PUT /drives/root', { drive_id: 'root', path_on_host: 'root', is_root_device: true, ...drive })
    await api.send('PUT /drives/code', { drive_id: 'code', path_on_host: 'code', is_root_device: false, ...drive })
    await api.send('PUT /network-interfaces/eth0', { iface_id: 'eth0', host_dev_name: 'tap0', guest_mac: guestMac })
    await api.send('PUT /vsock', { guest_cid: 3, uds_path: names.vsock })
    await api.send('PUT /entropy', {})
    await api.send('PUT /balloon', { amount_mib: 0, deflate_on_oom: true, stats_polling_interval_s: 1 })
    await api.send('PUT /actions', { action_type: 'InstanceStart' })
    await machine.share()
    return machine
  }

  async restore(spec: CloneSpec, spare: SpareVmm | null, undo: Undo): Promise<Machine> {
    const prepared = spare instanceof FirecrackerSpare && spare.isAlive ? spare.machine : null
    const machine = prepared ?? (await this.#prepare(spec, undo))
    if (prepared !== null) undo('vmm', async () => void (await prepared.kill()))
    await machine.api.send('PUT /snapshot/load', {
      snapshot_path: 'state',
      mem_backend: { backend_type: 'File', backend_path: 'memory' },
      network_overrides: [{ iface_id: 'eth0', host_dev_name: 'tap0' }],
      resume_vm: false,
    })
    for (const drive_id of ['root', 'code'] as const)
      await machine.api.send(`PATCH /drives/${drive_id}`, { drive_id, rate_limiter: rateLimiter })
    await machine.share()
    await machine.resume()
    return machine
  }

  async prespawn(spec: CloneSpec): Promise<SpareVmm> {
    const steps: (() => Promise<void>)[] = []
    try {
      return new FirecrackerSpare(await this.#prepare(spec, (_name, step) => steps.push(step)))
    } catch (error) {
      for (const step of steps.toReversed()) await step()
      throw error
    }
  }

  /** The page cache is what clones share: there is nothing to load, only to find. Throws driver_failed. */
  async load(snapshot: Snapshot): Promise<void> {
    for (const name of ['memory', 'state']) {
      const file = await open(join(snapshot.folder, name)).catch((cause: unknown) => {
        throw new AppError('driver_failed', `Snapshot ${snapshot.id} has no ${name}.`, { cause })
      })
      await file.close()
    }
  }

  async forget(): Promise<void> {}

  async recover(state: Readonly<Record<string, unknown>>, undo: Undo): Promise<Machine | null> {
    const adopted = await this.#options.host.adopt(state)
    if (adopted === null) return null
    const { vm, root } = adopted
    undo('vmm', async () => void (await vm.kill()))
    if (root === null) throw new AppError('driver_failed', `Instance "${vm.instanceId}" has no jail.`)
    await vm.showJail(root, jailLink)
    return new RunningFirecracker(vm, { root, ...openVmmPipes(vm.folder), saveTo: null })
  }

  async #prepare(spec: CloneSpec, undo: Undo): Promise<RunningFirecracker> {
    const { folder } = spec.snapshot
    return this.#jail(spec, undo, [
      { path: spec.rootImage, name: 'root', access: 'read' },
      { path: spec.codeImage, name: 'code', access: 'read' },
      { path: join(folder, 'state'), name: 'state', access: 'read' },
      { path: join(folder, 'memory'), name: 'memory', access: 'read' },
    ])
  }

  /** A VMM in its jail that answers, with logger and metrics set. */
  async #jail(spec: MachineSpec | CloneSpec, undo: Undo, files: readonly JailFile[]): Promise<RunningFirecracker> {
    const { host, jailer, program } = this.#options
    const vm = await host.reserve(spec.instanceId)
    undo('vmm', async () => void (await vm.kill()))
    const own = [names.log, names.metrics].map(
      (name) => ({ path: join(vm.folder, name), name, access: 'pipe' }) as const,
    )
    const memoryMib = 'memoryMib' in spec ? spec.memoryMib : spec.snapshot.memoryMib + vmOverheadMib
    const root = await vm.jail({ jailer, program, files: [...files, ...own], apiSocket: names.api, memoryMib })
    await vm.showJail(root, jailLink)
    await vm.share(names.api)
    const saveTo = 'saveTo' in spec ? spec.saveTo : null
    const machine = new RunningFirecracker(vm, { root, ...openVmmPipes(vm.folder), saveTo })
    await machine.api.send('PUT /logger', {
      log_path: names.log,
      level: 'Warning',
      show_level: true,
      show_log_origin: false,
    })
    await machine.api.send('PUT /metrics', { metrics_path: names.metrics })
    return machine
  }
}

/** A kernel with its drivers in an initramfs must load them; any other has nothing to load. */
function wordsFor({ initramfs }: { initramfs: string | null }): readonly string[] {
  return initramfs === null ? [...kernelWords, 'nomodule'] : kernelWords
}

function saveFiles(saveTo: SnapshotFiles): readonly JailFile[] {
  return [
    { path: saveTo.state, name: 'state', access: 'write' },
    { path: saveTo.memory, name: 'memory', access: 'write' },
  ]
}
