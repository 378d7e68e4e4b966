import assert from 'node:assert'
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'
import type { Duplex } from 'node:stream'
import type { KernelBuild } from '../../src/domain/image.ts'
import { currentKernel, shelvedKernels } from '../../src/image/kernel/kernel-shelf.ts'
import { imageCache } from './driver-rig.ts'
import { qemuProgram } from './vm-rig.ts'

export const channelNames = ['init', 'supervisor', 'runtime'] as const
export type ChannelName = (typeof channelNames)[number]

export interface GuestVmOptions {
  readonly kernel: Pick<KernelBuild, 'vmlinux' | 'initramfs'>
  readonly root: string
  /** The second drive: a code image, or a placeholder of the same size. */
  readonly code: string
  readonly memoryMib: number
  /** A VM that may become a snapshot keeps its memory in this file. */
  readonly memoryFile: string
  /** An eth0 on QEMU's own network: 10.0.2.2 is this machine's loopback. */
  readonly hasNetwork?: boolean
  /** On KVM, with these channels by vsock in place of virtio ports; who connects puts sockets of their names into the folder. */
  readonly vsockCid?: number
  /** Starts from this state instead of a kernel, with the memory file copied on write. */
  readonly stateFile?: string
}

/** One QEMU process of its own, for tests of what is inside a VM: no launcher, no driver. Emulated, so that it runs on every machine. */
export class GuestVm {
  readonly folder = mkdtempSync(path.join(os.tmpdir(), 'hearth-vm-'))
  readonly child: ChildProcess
  readonly exited: Promise<number | null>
  readonly startedAt = performance.now()
  #monitor: Monitor | null = null
  #console = ''

  constructor(options: GuestVmOptions) {
    this.child = spawn(qemuProgram, qemuArguments(this.folder, options), { stdio: ['ignore', 'pipe', 'pipe'] })
    for (const output of [this.child.stdout, this.child.stderr])
      output?.on('data', (text: Buffer) => (this.#console += text.toString()))
    this.exited = once(this.child, 'exit').then(([code]: (number | null)[]) => code ?? null)
  }

  /** What the guest's kernel and QEMU itself printed. */
  get console(): string {
    return this.#console
  }

  /** A connection to one of the guest's channels; waits until QEMU listens. */
  async connect(name: ChannelName): Promise<Duplex> {
    return connectWhenThere(path.join(this.folder, name), this.exited)
  }

  async command(name: string, options: object = {}): Promise<unknown> {
    this.#monitor ??= await Monitor.open(await connectWhenThere(path.join(this.folder, 'qmp'), this.exited))
    return this.#monitor.command(name, options)
  }

  /** Saves the device state beside the memory file and ends the VM: both together are a snapshot. */
  async snapshot(stateFile: string): Promise<void> {
    await this.command('migrate-set-capabilities', sharedMemory)
    await this.command('migrate', { uri: `exec:cat > '${stateFile}'` })
    await this.#monitor?.event('STOP')
    await this.#monitor?.event('MIGRATION', (data) => data['status'] === 'completed')
    await this.kill()
  }

  /** Brings a VM that was started with `stateFile` to where the snapshot was. */
  async restore(stateFile: string): Promise<void> {
    await this.command('migrate-set-capabilities', sharedMemory)
    await this.command('migrate-incoming', { uri: `exec:cat '${stateFile}'` })
    await this.#monitor?.event('RESUME')
  }

  async kill(): Promise<void> {
    this.child.kill('SIGKILL')
    await this.exited
    rmSync(this.folder, { recursive: true, force: true })
  }
}

const sharedMemory = {
  capabilities: [
    { capability: 'x-ignore-shared', state: true },
    { capability: 'events', state: true },
  ],
}

function qemuArguments(folder: string, options: GuestVmOptions): string[] {
  const { memoryMib, stateFile } = options
  const isRestored = stateFile !== undefined
  const { vmlinux, initramfs } = options.kernel
  const hasInitramfs = initramfs !== null
  const drive = (id: string, file: string): string[] => [
    '-drive',
    `id=${id},file=${file},format=raw,if=none,readonly=on`,
    '-device',
    `virtio-blk-device,drive=${id}`,
  ]
  const memory = `memory-backend-file,id=ram,size=${memoryMib}M,mem-path=${options.memoryFile},share=${isRestored ? 'off' : 'on'}`
  const isVerbose = process.env['HEARTH_TEST_CONSOLE'] === '1'
  const hasKvm = options.vsockCid !== undefined
  const words = [
    ...(hasKvm ? [] : timerWords(hasInitramfs)),
    ...(isVerbose ? ['console=ttyS0'] : ['quiet', 'loglevel=0']),
    'panic=-1 reboot=t root=/dev/vda rootfstype=erofs ro init=/usr/lib/hearth/hearth-guest hearth.epoch=boot',
  ]
  return [
    '-M',
    `microvm,acpi=${hasInitramfs ? 'on' : 'off'},x-option-roms=off,isa-serial=${isVerbose ? 'on' : 'off'},memory-backend=ram`,
    ...(hasKvm ? ['-accel', 'kvm', '-cpu', 'host'] : ['-accel', 'tcg', '-cpu', 'max']),
    ...['-smp', '1', '-m', String(memoryMib), '-object', memory],
    ...['-nodefaults', '-no-user-config', '-nographic', '-no-reboot'],
    ...(isVerbose ? ['-serial', 'stdio'] : []),
    ...['-qmp', `unix:${path.join(folder, 'qmp')},server=on,wait=off`],
    ...channelDevices(folder, options),
    ...drive('root', options.root),
    ...drive('code', options.code),
    ...(options.hasNetwork === true ? ['-netdev', 'user,id=net', '-device', 'virtio-net-device,netdev=net'] : []),
    ...(isRestored ? ['-incoming', 'defer'] : ['-kernel', vmlinux, '-append', words.join(' ')]),
    ...(isRestored || initramfs === null ? [] : ['-initrd', initramfs]),
  ]
}

function channelDevices(folder: string, { vsockCid }: GuestVmOptions): string[] {
  if (vsockCid !== undefined) return ['-device', `vhost-vsock-device,guest-cid=${vsockCid}`]
  const ports = channelNames.flatMap((name) => [
    '-chardev',
    `socket,id=${name},path=${path.join(folder, name)},server=on,wait=off`,
    '-device',
    `virtserialport,chardev=${name},name=hearth.${name}`,
  ])
  return ['-device', 'virtio-serial-device,max_ports=4', ...ports]
}

function timerWords(hasInitramfs: boolean): string[] {
  const khz = tscKhz()
  const known = khz === null ? [] : [`tsc_early_khz=${khz}`]
  return [...known, 'tsc=reliable no_timer_check', ...(hasInitramfs ? [] : ['nolapic_timer'])]
}

/** The emulated time stamp counter is the host's: told its rate, the guest need not measure it, which fails on a busy machine. */
export function tscKhz(): number | null {
  const mhz = /^cpu MHz\s*:\s*([\d.]+)/m.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[1]
  return mhz === undefined ? null : Math.round(Number(mhz) * 1000)
}

/** QEMU makes its sockets some ms after its start; there is no event for it. */
async function connectWhenThere(file: string, exited: Promise<unknown>): Promise<net.Socket> {
  let hasExited = false
  void exited.then(() => (hasExited = true))
  for (;;) {
    const socket = net.connect(file)
    try {
      await once(socket, 'connect')
      return socket
    } catch (error) {
      if (hasExited) throw new Error(`QEMU ended before it listened on ${file}`, { cause: error })
      await new Promise((resolve) => setTimeout(resolve, 2))
    }
  }
}

type Data = Record<string, unknown>

/** QEMU's own control channel. */
class Monitor {
  readonly #socket: Duplex
  #answers: ((answer: Data) => void)[] = []
  #events: { name: string; data: Data }[] = []
  #watchers: (() => void)[] = []

  static async open(socket: Duplex): Promise<Monitor> {
    const monitor = new Monitor(socket)
    await monitor.command('qmp_capabilities')
    return monitor
  }

  constructor(socket: Duplex) {
    this.#socket = socket
    socket.on('error', () => {})
    const lines = createInterface({ input: socket })
    // A VM that is killed resets it; readline hands that on.
    lines.on('error', () => {})
    lines.on('line', (line) => {
      const message: Data = JSON.parse(line)
      if (typeof message['event'] === 'string') {
        this.#events.push({ name: message['event'], data: isData(message['data']) ? message['data'] : {} })
        for (const watch of this.#watchers.splice(0)) watch()
      } else if ('return' in message || 'error' in message) this.#answers.shift()?.(message)
    })
  }

  async command(name: string, options: object = {}): Promise<unknown> {
    const answer = await new Promise<Data>((resolve) => {
      this.#answers.push(resolve)
      this.#socket.write(JSON.stringify({ execute: name, arguments: options }))
    })
    assert(!('error' in answer), `${name}: ${JSON.stringify(answer['error'])}`)
    return answer['return']
  }

  /** Resolves when such an event has come, before this call or after. */
  async event(name: string, isWanted: (data: Data) => boolean = () => true): Promise<void> {
    while (!this.#events.some((event) => event.name === name && isWanted(event.data)))
      await new Promise<void>((resolve) => this.#watchers.push(resolve))
  }
}

function isData(value: unknown): value is Data {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** The kernel that `npm test` or an operator put on this machine's shelf; null when there is none. */
export function shelvedKernel(): KernelBuild | null {
  const folders = [imageCache, '/var/cache/hearth']
  const [found] = [...folders.flatMap((folder) => currentKernel(folder) ?? []), ...folders.flatMap(shelvedKernels)]
  return found ?? null
}

/** Why VMs cannot be tested here, or null. */
export function vmObstacle(kernel: KernelBuild | null): string | null {
  if (!existsSync(qemuProgram)) return `${qemuProgram} is not installed`
  if (!existsSync('/usr/bin/mkfs.erofs')) return '/usr/bin/mkfs.erofs is not installed'
  return kernel === null ? 'there is no kernel: run hearth kernel build or hearth kernel use debian' : null
}
