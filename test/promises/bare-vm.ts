import { silentLogger } from '../../src/domain/logger.ts'
import { spawn, type ChildProcess } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { closeSync, openSync } from 'node:fs'
import { mkdir, rm } from 'node:fs/promises'
import net from 'node:net'
import path from 'node:path'
import type { Duplex } from 'node:stream'
import type { Exit } from '../../src/domain/driver.ts'
import { qemuArgv } from '../../src/driver/qemu/command-line.ts'
import { tscKhz } from '../../src/driver/qemu/find-qemu.ts'
import { greet } from '../../src/driver/vm/handshake.ts'
import { VmSandbox } from '../../src/driver/vm/vm-sandbox.ts'
import { portNames, vmOverheadMib, type Machine, type PortName } from '../../src/driver/vm/vmm.ts'
import type { Start } from '../contract/driver-contract-rig.ts'
import { guestProgram } from '../support/launcher.ts'
import { qemuProgram, type VmRig } from '../support/vm-rig.ts'

const memoryMib = 256
/** QEMU makes its sockets in the first milliseconds. */
const socketsMsMax = 5_000

/** VMM, kernel and image alone: QEMU as this process's own child, as root, with the code drive in it from the beginning; without launcher, private root,
 *  cgroup, network or monitor. The guest and what is said to it are the same. */
export function bareBoot(rig: VmRig, codeImage: string): Start {
  return async ({ instanceId, epoch, runtime }) => {
    const folder = path.join(rig.folder, `bare-${randomBytes(4).toString('hex')}`)
    await mkdir(folder)
    const image = await rig.images.runtimeImage(runtime)
    const kernel = await rig.images.kernel()
    const files = [image.path, codeImage, kernel.vmlinux, ...(kernel.initramfs === null ? [] : [kernel.initramfs])]
    const argv = qemuArgv({
      accelerator: 'tcg',
      tscKhz: tscKhz(guestProgram),
      memoryMib: memoryMib + vmOverheadMib,
      memory: 'anonymous',
      needsAcpi: kernel.needsAcpi,
      boot: { kernel, epoch },
      fds: {
        ...{ init: 100, supervisor: 101, runtime: 102, qmp: 103 },
        ...{ root: 3, code: 4, kernel: 5, initramfs: kernel.initramfs === null ? null : 6 },
        ...{ state: null, memory: null, tap: null },
      },
    })
    const machine = new BareMachine(folder, withPaths(argv, folder), files)
    const link = await greet(machine, { instanceId, epoch, runtime: image.runtime, memoryMib })
    const made = { vmm: 'bare', accelerator: 'tcg', image: image.digest } as const
    const about = { driver: 'bare', instanceId, memoryMib, hasCode: true, folder, logger: silentLogger }
    return new VmSandbox({ machine, made, ...about, ...link })
  }
}

/** Sockets by path instead of by descriptor, and no monitor. */
function withPaths(argv: readonly string[], folder: string): string[] {
  const monitor = argv.findIndex((word) => word.startsWith('socket,id=qmp,')) - 1
  const own = argv.toSpliced(monitor, 4)
  return own.map((word) => word.replace(/^socket,id=(\w+),fd=\d+,/, `socket,id=$1,path=${folder}/$1,`))
}

class BareMachine implements Machine {
  readonly state = {}
  readonly connectsPaused = false
  readonly exited: Promise<Exit>
  readonly #folder: string
  readonly #child: ChildProcess

  constructor(folder: string, argv: readonly string[], files: readonly string[]) {
    this.#folder = folder
    const opened = files.map((file) => openSync(file, 'r'))
    this.#child = spawn(qemuProgram, argv, { stdio: ['ignore', 'ignore', 'inherit', ...opened] })
    for (const fd of opened) closeSync(fd)
    this.exited = once(this.#child, 'exit').then(([code, signal]) => ({ code, signal, oom: false }))
  }

  async connect(port: PortName): Promise<Duplex> {
    if (!portNames.includes(port)) throw new Error(`There is no port "${port}".`)
    const untilMs = performance.now() + socketsMsMax
    for (;;) {
      const socket = net.connect(path.join(this.#folder, port))
      try {
        await once(socket, 'connect')
        return socket.on('error', () => {})
      } catch (error) {
        if (performance.now() > untilMs) throw error
        await new Promise((resolve) => setTimeout(resolve, 1))
      }
    }
  }

  async kill(): Promise<Exit> {
    this.#child.kill('SIGKILL')
    const exit = await this.exited
    await rm(this.#folder, { recursive: true, force: true })
    return exit
  }

  setCode = cannot
  connectNetwork = cannot
  pause = cannot
  resume = cannot
  save = cannot
  usage = cannot
  memoryBytes = cannot
  lastWords = async (): Promise<string> => ''
}

async function cannot(): Promise<never> {
  throw new Error('A bare VMM has no monitor.')
}
