import { spawn, type ChildProcess } from 'node:child_process'
import { closeSync, openSync, readdirSync, readlinkSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import net from 'node:net'
import path from 'node:path'
import { kernelWords, qemuArgv, type Descriptors } from '../../src/driver/qemu/command-line.ts'
import { tscKhz } from '../../src/driver/qemu/find-qemu.ts'
import { Qmp } from '../../src/driver/qemu/qmp.ts'
import { StateReceiver } from '../../src/driver/qemu/state-receiver.ts'
import { copyMemory, type Hardware } from './snapshot-file.ts'

const guestProgram = path.resolve(import.meta.dirname, '../../guest/target/release/hearth-guest')

const qemuProgram = '/usr/bin/qemu-system-x86_64'
/** Ends QEMU with its parent, however that ends. */
const starter = ['/usr/bin/setpriv', '--pdeathsig', 'KILL', qemuProgram] as const
/** Device state goes by itself; memory is copied from QEMU's own file. */
const capabilities = [
  { capability: 'x-ignore-shared', state: true },
  { capability: 'events', state: true },
]
const mib = 1024 * 1024

export interface Boot {
  readonly kernel: string
  readonly initrd: string | null
  readonly args: string
}

export interface MachineOptions {
  readonly hardware: Hardware
  readonly workFolder: string
  readonly onStderr: (text: string) => void
}

/** One QEMU, as the VM behind the API. Its memory is a memfd of its own, which this process reads and writes through /proc: so a snapshot's
 *  memory file is only read, and a clone can be saved again. */
export class Machine {
  /** QEMU's exit code; null when a signal ended it. */
  readonly exited: Promise<number | null>
  readonly hardware: Hardware
  readonly #qmp: Qmp
  readonly #ram: string
  readonly #workFolder: string
  #reopened = 0
  readonly #nodes = new Map<string, string>()

  private constructor(child: ChildProcess, exited: Promise<number | null>, qmp: Qmp, options: MachineOptions) {
    this.exited = exited
    this.hardware = options.hardware
    this.#qmp = qmp
    this.#ram = ramOf(child.pid ?? 0)
    this.#workFolder = options.workFolder
  }

  /** A machine that boots at once. Throws with QEMU's last words when it does not start. */
  static boot(options: MachineOptions, boot: Boot): Promise<Machine> {
    return Machine.#start(options, { boot, stateFd: null })
  }

  /** A machine as it was saved, paused. `stateFd` stands at the device state, and is closed here. */
  static async restore(options: MachineOptions, from: { stateFd: number; memory: string }): Promise<Machine> {
    const machine = await Machine.#start(options, { boot: null, stateFd: from.stateFd })
    await copyMemory(from.memory, machine.#ram, options.hardware.memoryMib * mib, 'r+')
    await machine.#qmp.run('migrate-set-capabilities', { capabilities })
    await machine.#migrate('migrate-incoming', `fd:${stateDescriptor}`)
    return machine
  }

  static async #start(options: MachineOptions, of: { boot: Boot | null; stateFd: number | null }): Promise<Machine> {
    const { hardware } = options
    const names = [...hardware.drives.map((each) => each.path), ...bootFiles(of.boot)]
    const opened: number[] = []
    try {
      for (const name of names) opened.push(openSync(name, 'r'))
      if (of.stateFd !== null) opened.push(of.stateFd)
      const argv = machineArgv(options, of.boot)
      const child = spawn(starter[0], [...starter.slice(1), ...argv], {
        stdio: ['ignore', 'ignore', 'pipe', 'pipe', ...opened],
      })
      return await Machine.#attach(child, options)
    } finally {
      for (const fd of opened) closeSync(fd)
    }
  }

  static async #attach(child: ChildProcess, options: MachineOptions): Promise<Machine> {
    let stderr = ''
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      stderr = (stderr + text).slice(-2_000)
      options.onStderr(text)
    })
    const exited = new Promise<number | null>((settle, fail) => child.on('error', fail).on('exit', settle))
    exited.catch(() => {})
    const monitor = child.stdio[3]
    if (!(monitor instanceof net.Socket)) throw new Error(`${qemuProgram} was not started`)
    try {
      const qmp = await Qmp.open(monitor, () => child.kill('SIGKILL'))
      await qmp.run('qom-set', { path: balloonPath, property: 'guest-stats-polling-interval', value: 1 })
      return new Machine(child, exited, qmp, options)
    } catch (error) {
      child.kill('SIGKILL')
      throw new Error(`${String(error)} ${stderr.trim()}`, { cause: error })
    }
  }

  async pause(): Promise<void> {
    await this.#qmp.run('stop')
  }

  async resume(): Promise<void> {
    await this.#qmp.run('cont')
  }

  /** Device state into `state`, which is made, and memory into `memory`, which is written over. The machine stays, paused. */
  async save(files: { state: string; memory: string }): Promise<void> {
    const socket = path.join(this.#workFolder, 'save')
    const receiver = await StateReceiver.listen(socket, files.state)
    try {
      await this.#qmp.run('migrate-set-capabilities', { capabilities })
      await this.#migrate('migrate', `unix:${socket}`)
      await receiver.saved
    } finally {
      await receiver.close()
      await rm(socket, { force: true })
    }
    await copyMemory(this.#ram, files.memory, this.hardware.memoryMib * mib, 'w')
  }

  /** Another file under the drive. Source: QEMU docs, blockdev-reopen. */
  async setDrive(id: string, file: string): Promise<void> {
    const slot = this.hardware.drives[0]?.id === id ? 'root' : 'code'
    const name = `${slot}-${++this.#reopened}`
    const filename = path.resolve(file)
    await this.#qmp.run('blockdev-add', {
      driver: 'file',
      'node-name': name,
      filename,
      'read-only': true,
      locking: 'off',
    })
    await this.#qmp.run('blockdev-reopen', {
      options: [{ driver: 'raw', 'node-name': slot, file: name, 'read-only': true }],
    })
    await this.#qmp.run('blockdev-del', { 'node-name': this.#nodes.get(slot) ?? `${slot}-0` })
    this.#nodes.set(slot, name)
  }

  /** What the guest's balloon driver told last; null before it did. Source: QEMU docs/virtio-balloon-stats. */
  async guestAvailableBytes(): Promise<number | null> {
    const value = { path: balloonPath, property: 'guest-stats' }
    const reply = await this.#qmp.run('qom-get', value)
    const stats = typeof reply === 'object' && reply !== null && 'stats' in reply ? reply.stats : null
    const available: unknown =
      typeof stats === 'object' && stats !== null ? Reflect.get(stats, 'stat-available-memory') : null
    // What a guest did not tell is 2^64 - 1.
    return typeof available === 'number' && Number.isSafeInteger(available) ? available : null
  }

  /** Whether the guest has that port open. */
  async isListening(port: string): Promise<boolean> {
    const chardevs = await this.#qmp.run('query-chardev')
    return (
      Array.isArray(chardevs) &&
      chardevs.some(
        (each: { label?: unknown; 'frontend-open'?: unknown }) => each.label === port && each['frontend-open'] === true,
      )
    )
  }

  async #migrate(command: string, uri: string): Promise<void> {
    let changed = this.#qmp.event('MIGRATION')
    await this.#qmp.run(command, { uri })
    for (;;) {
      const reply = await this.#qmp.run('query-migrate')
      const status = typeof reply === 'object' && reply !== null && 'status' in reply ? String(reply.status) : ''
      if (status === 'failed' || status === 'cancelled') throw new Error(`QEMU says ${status} to ${command}`)
      if (status === 'completed') break
      await changed
      changed = this.#qmp.event('MIGRATION')
    }
    changed.catch(() => {})
  }
}

const firstFd = 4
const balloonPath = '/machine/peripheral/balloon'
/** Behind the two drives; nothing is booted then. */
const stateDescriptor = firstFd + 2

function bootFiles(boot: Boot | null): string[] {
  if (boot === null) return []
  return boot.initrd === null ? [boot.kernel] : [boot.kernel, boot.initrd]
}

/** The driver's own argument list, with what is not the launcher's here: sockets by path, the tap by name, memory in a memfd. */
function machineArgv({ hardware, workFolder }: MachineOptions, boot: Boot | null): string[] {
  const { memoryMib, needsAcpi, network } = hardware
  const fds: Descriptors = {
    ...{ init: 0, supervisor: 0, runtime: 0, qmp: 3, root: firstFd, code: firstFd + 1 },
    kernel: boot === null ? null : firstFd + 2,
    initramfs: boot === null || boot.initrd === null ? null : firstFd + 3,
    ...{ state: null, memory: null, tap: network === null ? null : 0 },
  }
  const kernel = {
    digest: 'sha256:' as const,
    vmlinux: '',
    initramfs: null,
    kind: 'file',
    profile: null,
    release: '',
  } as const
  const argv = qemuArgv({
    ...{ accelerator: 'tcg', tscKhz: tscKhz(guestProgram), memoryMib, fds, memory: 'anonymous', needsAcpi },
    boot: boot === null ? null : { kernel: { ...kernel, needsAcpi }, epoch: '' },
  })
  const append = argv.indexOf('-append')
  if (boot !== null) argv[append + 1] = guestWords(boot.args, needsAcpi)
  return [...argv, '-device', 'virtio-balloon-device,id=balloon'].map((word) =>
    word
      .replace(/^socket,id=qmp,fd=(\d+),.*$/, 'socket,id=qmp,fd=$1')
      .replace(/^socket,id=(\w+),fd=0,/, `socket,id=$1,path=${workFolder}/$1,`)
      .replace(/^memory-backend-ram,(.*)$/, 'memory-backend-memfd,$1,share=on')
      .replace(/^tap,id=net0,fd=0$/, `tap,id=net0,ifname=${network?.tap},script=no,downscript=no`)
      .replace(/,mac=.*$/, `,mac=${network?.mac}`),
  )
}

/** `boot_args` with an emulated machine's words in place of KVM's; Firecracker itself adds the root drive at the end. */
function guestWords(args: string, needsAcpi: boolean): string {
  const given = args.split(' ').filter((word) => !/^(reboot|panic|loglevel)=/.test(word))
  return [
    ...kernelWords({ accelerator: 'tcg', tscKhz: tscKhz(guestProgram), needsAcpi }),
    ...given,
    'root=/dev/vda',
    'ro',
  ].join(' ')
}

/** QEMU's memory as a file of /proc. */
function ramOf(pid: number): string {
  const folder = `/proc/${pid}/fd`
  const fd = readdirSync(folder).find((name) => readlinkSync(`${folder}/${name}`).startsWith('/memfd:'))
  if (fd === undefined) throw new Error('QEMU has no memory file')
  return `${folder}/${fd}`
}
