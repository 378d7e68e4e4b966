import type { Duplex } from 'node:stream'
import type { Exit } from '../../domain/driver.ts'
import { AppError } from '../../domain/error.ts'
import type { VmProcess } from '../vm/vm-host.ts'
import type { GuestNetwork, Machine, PortName, SpareVmm } from '../vm/vmm.ts'
import type { Qmp } from './qmp.ts'
import type { StateReceiver } from './state-receiver.ts'

/** Memory stays out of the stream: it is in the shared file already. */
export const capabilities = [
  { capability: 'x-ignore-shared', state: true },
  { capability: 'events', state: true },
]

/** Of what it wrote to its standard error. */
const lastWordsMax = 2_048

/** A VMM up, with a snapshot's memory mapped, waiting for its state. */
export class QemuSpare implements SpareVmm {
  readonly vm: VmProcess
  readonly qmp: Qmp
  readonly stateFd: number
  readonly ended: Promise<unknown>

  constructor(vm: VmProcess, qmp: Qmp, stateFd: number) {
    this.ended = vm.exited
    this.vm = vm
    this.qmp = qmp
    this.stateFd = stateFd
  }

  get isAlive(): boolean {
    return this.vm.isAlive && !this.qmp.isClosed
  }

  async kill(): Promise<void> {
    this.qmp.close()
    await this.vm.kill()
  }
}

/** A machine that runs or is paused, by its monitor. */
export class RunningQemu implements Machine {
  readonly connectsPaused = true
  readonly state: Readonly<Record<string, unknown>>
  readonly exited: Promise<Exit>
  readonly #vm: VmProcess
  readonly #qmp: Qmp
  readonly #saving: { readonly receiver: StateReceiver; readonly fd: number } | null
  #codeNode = 'code-0'
  #codeCount = 0

  constructor(vm: VmProcess, qmp: Qmp, saving: { receiver: StateReceiver; fd: number } | null) {
    this.#vm = vm
    this.#qmp = qmp
    this.#saving = saving
    this.exited = vm.exited
    this.state = { instance: vm.instanceId, uid: vm.uid }
    const closed = async (): Promise<void> => {
      qmp.close()
      await saving?.receiver.close()
    }
    void vm.exited.then(closed)
  }

  connect(port: PortName): Promise<Duplex> {
    return this.#vm.connect(port)
  }

  async setCode(image: string): Promise<void> {
    const name = `code-${++this.#codeCount}`
    const filename = await this.#vm.place(name, image)
    const file = { driver: 'file', 'node-name': name, filename, 'read-only': true, locking: 'off' }
    await this.#qmp.run('blockdev-add', file)
    await this.#qmp.run('blockdev-reopen', {
      options: [{ driver: 'raw', 'node-name': 'code', file: name, 'read-only': true }],
    })
    await this.#qmp.run('blockdev-del', { 'node-name': this.#codeNode })
    this.#codeNode = name
  }

  connectNetwork(): Promise<GuestNetwork> {
    return this.#vm.connectNetwork()
  }

  async pause(): Promise<void> {
    await this.#qmp.run('stop')
  }

  async resume(): Promise<void> {
    await this.#qmp.run('cont')
  }

  async save(): Promise<void> {
    const saving = this.#saving
    if (saving === null)
      throw new AppError('driver_failed', `Instance "${this.#vm.instanceId}" was not booted to be saved.`)
    await this.#qmp.run('migrate-set-capabilities', { capabilities })
    // Without a `stop` before: it would be saved as paused, and clones would wait to be told to run.
    let changed = this.#qmp.event('MIGRATION')
    await this.#qmp.run('migrate', { uri: `unix:/proc/self/fd/${saving.fd}` })
    for (;;) {
      const status = statusOf(await this.#qmp.run('query-migrate'))
      if (status === 'completed') break
      if (status === 'failed' || status === 'cancelled')
        throw new AppError('driver_failed', `Cannot save instance "${this.#vm.instanceId}": QEMU says ${status}.`)
      await changed
      changed = this.#qmp.event('MIGRATION')
    }
    changed.catch(() => {})
    await saving.receiver.saved
    await this.kill()
  }

  async kill(): Promise<Exit> {
    this.#qmp.close()
    return this.#vm.kill()
  }

  memoryBytes(): Promise<number> {
    return this.#vm.memoryBytes()
  }

  async usage(): ReturnType<Machine['usage']> {
    return { memoryBytes: await this.memoryBytes(), guestAvailableBytes: null }
  }

  async lastWords(): Promise<string> {
    await this.exited
    return this.#vm.stderr.trim().slice(-lastWordsMax)
  }
}

function statusOf(reply: unknown): string {
  return typeof reply === 'object' && reply !== null && 'status' in reply ? String(reply.status) : ''
}
