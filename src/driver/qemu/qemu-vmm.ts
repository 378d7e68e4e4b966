import { join } from 'node:path'
import { AppError } from '../../domain/error.ts'
import type { Snapshot } from '../../domain/snapshot.ts'
import { processorDigest } from '../vm/processor.ts'
import type { VmHost, VmProcess, VmSpawn } from '../vm/vm-host.ts'
import {
  vmOverheadMib,
  type Accelerator,
  type CloneSpec,
  type Machine,
  type MachineSpec,
  type SpareVmm,
  type Vmm,
} from '../vm/vmm.ts'
import { qemuArgv, type Descriptors, type QemuMachine } from './command-line.ts'
import { Qmp } from './qmp.ts'
import { capabilities, QemuSpare, RunningQemu } from './running-qemu.ts'
import { StateReceiver } from './state-receiver.ts'

export interface QemuOptions {
  readonly host: VmHost
  /** Path of qemu-system-*. */
  readonly program: string
  readonly version: string
  readonly accelerators: readonly Accelerator[]
  readonly tscKhz: number
}

/** Sockets in an Instance's run folder, in the order of their descriptors; short, since a path holds 107 bytes. */
const sockets = ['init', 'supervisor', 'runtime', 'qmp'] as const
const firstFd = 3
/** Where this process listens for a machine's state; QEMU names descriptors of migrations in this way only. */
const saveSocket = 'save'
type Undo = Parameters<Vmm['boot']>[1]

/** Machines by QEMU's `microvm`. Source: docs/reference and QEMU docs/system/i386/microvm, docs/devel/migration; memory of a snapshot is a file that is
 *  mapped shared while it is made and privately by clones (`x-ignore-shared` keeps it out of the stream). */
export class QemuVmm implements Vmm {
  readonly name = 'qemu'
  readonly #options: QemuOptions

  accelerator: Accelerator = 'tcg'

  constructor(options: QemuOptions) {
    this.#options = options
  }

  get version(): string {
    return this.#options.version
  }

  get accelerators(): readonly Accelerator[] {
    return this.#options.accelerators
  }

  use(accelerator: Accelerator): void {
    this.accelerator = accelerator
  }

  async key(): Promise<Readonly<Record<string, string>>> {
    const { version, tscKhz } = this.#options
    const accelerator = this.accelerator
    const cpu = accelerator === 'kvm' ? await processorDigest() : `tcg ${Math.round(tscKhz / 1_000)} MHz`
    return { vmm: `qemu ${version}`, accelerator, cpu, devices: 'microvm-1' }
  }

  async boot(spec: MachineSpec, undo: Undo): Promise<Machine> {
    const { kernel, saveTo } = spec
    const vm = await this.#options.host.reserve(spec.instanceId)
    undo('vmm', async () => void (await vm.kill()))
    const receiver = saveTo === null ? null : await StateReceiver.listen(vm.socketPath(saveSocket), saveTo.state)
    if (receiver !== null) undo('state', async () => receiver.close())
    const files = [
      { path: spec.rootImage, access: 'read' },
      { path: spec.codeImage, access: 'read' },
      { path: kernel.vmlinux, access: 'read' },
      ...(kernel.initramfs === null ? [] : [{ path: kernel.initramfs, access: 'read' } as const]),
      ...(saveTo === null ? [] : [{ path: join(vm.folder, saveSocket), access: 'connect' } as const]),
    ] as const
    const first = firstFd + sockets.length
    const next = first + files.length
    const fds: Descriptors = {
      ...socketFds(),
      root: first,
      code: first + 1,
      kernel: first + 2,
      initramfs: kernel.initramfs === null ? null : first + 3,
      state: saveTo === null ? null : next - 1,
      memory: saveTo === null ? null : next,
      tap: saveTo === null ? next : next + 1,
    }
    await this.#start(vm, {
      fds,
      files,
      memory: saveTo === null ? null : { create: saveTo.memory, mib: spec.memoryMib },
      machine: {
        memoryMib: spec.memoryMib,
        boot: { kernel, epoch: spec.epoch },
        memory: saveTo === null ? 'anonymous' : 'shared',
        needsAcpi: kernel.needsAcpi,
      },
    })
    const qmp = await this.#monitor(vm)
    return new RunningQemu(vm, qmp, receiver === null ? null : { receiver, fd: fds.state ?? 0 })
  }

  async restore(spec: CloneSpec, spare: SpareVmm | null, undo: Undo): Promise<Machine> {
    const vmm = spare instanceof QemuSpare && spare.isAlive ? spare : await this.#prepare(spec, spec.instanceId)
    undo('vmm', () => vmm.kill())
    const running = vmm.qmp.event('RESUME')
    await vmm.qmp.run('migrate-incoming', { uri: `fd:${vmm.stateFd}` })
    await running
    return new RunningQemu(vmm.vm, vmm.qmp, null)
  }

  async prespawn(spec: CloneSpec): Promise<SpareVmm> {
    return this.#prepare(spec, spec.instanceId)
  }

  async load(snapshot: Snapshot): Promise<void> {
    await this.#options.host.loadTemplate(snapshot, join(snapshot.folder, 'memory'))
  }

  async forget(snapshot: Snapshot): Promise<void> {
    await this.#options.host.forgetTemplate(snapshot)
  }

  async recover(state: Readonly<Record<string, unknown>>, undo: Undo): Promise<Machine | null> {
    const adopted = await this.#options.host.adopt(state)
    if (adopted === null) return null
    const { vm } = adopted
    undo('vmm', async () => void (await vm.kill()))
    return new RunningQemu(vm, await this.#monitor(vm), null)
  }

  /** A VMM up, with the snapshot's memory mapped, waiting for its state. */
  async #prepare(spec: CloneSpec, instanceId: string): Promise<QemuSpare> {
    const { snapshot } = spec
    const first = firstFd + sockets.length
    const files = [
      { path: spec.rootImage, access: 'read' },
      { path: spec.codeImage, access: 'read' },
      { path: join(snapshot.folder, 'state'), access: 'read' },
    ] as const
    const stateFd = first + 2
    const fds: Descriptors = {
      ...socketFds(),
      ...{
        root: first,
        code: first + 1,
        kernel: null,
        initramfs: null,
        state: stateFd,
        memory: first + 3,
        tap: first + 4,
      },
    }
    const vm = await this.#options.host.reserve(instanceId)
    await this.#start(vm, {
      fds,
      files,
      memory: { template: snapshot.id },
      machine: {
        memoryMib: snapshot.memoryMib + vmOverheadMib,
        boot: null,
        memory: 'private',
        needsAcpi: snapshot.key['acpi'] === 'on',
      },
    })
    const qmp = await this.#monitor(vm)
    try {
      await qmp.run('migrate-set-capabilities', { capabilities })
      return new QemuSpare(vm, qmp, stateFd)
    } catch (error) {
      await vm.kill()
      throw error
    }
  }

  /** Throws driver_failed with what QEMU wrote before it went; it is gone then. One that stops answering later is ended. */
  async #monitor(vm: VmProcess): Promise<Qmp> {
    // A kill that fails is told to the driver, which ends its sandboxes by the same one.
    const end = (): void => void vm.kill().catch(() => {})
    try {
      return await Qmp.open(await vm.connect('qmp'), end)
    } catch (error) {
      await vm.kill()
      throw withStderr(error, vm)
    }
  }

  async #start(
    vm: VmProcess,
    of: {
      fds: Descriptors
      files: VmSpawn['files']
      memory: VmSpawn['memory']
      machine: Pick<QemuMachine, 'memoryMib' | 'boot' | 'memory' | 'needsAcpi'>
    },
  ): Promise<void> {
    const { program, tscKhz } = this.#options
    const accelerator = this.accelerator
    await vm.start({
      program,
      argv: qemuArgv({ accelerator, tscKhz, fds: of.fds, ...of.machine }),
      listen: sockets,
      files: of.files,
      memory: of.memory,
      memoryMib: of.machine.memoryMib,
      hasKvm: accelerator === 'kvm',
    })
  }
}

function socketFds(): Record<(typeof sockets)[number], number> {
  return { init: firstFd, supervisor: firstFd + 1, runtime: firstFd + 2, qmp: firstFd + 3 }
}

function withStderr(error: unknown, vm: VmProcess): unknown {
  if (!(error instanceof AppError) || vm.stderr === '') return error
  return new AppError(error.code, `${error.message} QEMU wrote: ${vm.stderr.trim().slice(-400)}`, { cause: error })
}
