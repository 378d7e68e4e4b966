import { openSync, statSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import path from 'node:path'
import { Fault, type Body, type Request } from './bodies.ts'
import { afterStart, attempt, checkConfig, checkDrive, checkFile, lacks, text, withOverrides } from './checks.ts'
import type { Log } from './log.ts'
import { Machine, type MachineOptions } from './machine.ts'
import { readHardware, writeState, type Hardware } from './snapshot-file.ts'
import { VsockDoor } from './vsock-door.ts'

export interface ControllerOptions {
  /** For sockets and files of its own; short, since a socket's path holds 107 bytes. */
  readonly workFolder: string
  readonly log: Log
  /** The machine has ended, or cannot be: the process ends with this code. */
  readonly onEnd: (code: number) => void
}

type Drive = Body<'PUT /drives/:drive_id'>

/** Firecracker's state machine, each call done on a QEMU: configured before the start, changed after it, saved while paused; a
 *  snapshot is loaded into a process that has heard of nothing but logger and metrics. Source: Firecracker docs/api_requests, docs/snapshotting. */
export class Controller {
  readonly #options: ControllerOptions
  /** Something of a machine's was configured: no snapshot may be loaded any more. */
  #isTouched = false
  #config: Body<'PUT /machine-config'> = { vcpu_count: 1, mem_size_mib: 128 }
  #bootSource: Body<'PUT /boot-source'> | null = null
  readonly #drives = new Map<string, Drive>()
  #network: Body<'PUT /network-interfaces/:iface_id'> | null = null
  #vsock: { path: string; door: VsockDoor } | null = null
  #machine: Machine | null = null
  #running = Promise.withResolvers<void>()
  #isPaused = false
  #hasBalloonStatistics = false
  readonly #limits = new Map<string, NonNullable<Drive['rate_limiter']>>()

  constructor(options: ControllerOptions) {
    this.#options = options
  }

  get state(): 'Not started' | 'Running' | 'Paused' {
    if (this.#machine === null) return 'Not started'
    return this.#isPaused ? 'Paused' : 'Running'
  }

  get config(): Body<'PUT /machine-config'> {
    return this.#config
  }

  /** As `GET /vm/config` has them; limits are none of a snapshot's. */
  get drives(): readonly object[] {
    const drives = this.#machine?.hardware.drives ?? []
    return drives.map(({ id }) => ({ drive_id: id, rate_limiter: this.#limits.get(id) ?? null }))
  }

  /** As the guest's driver told. Throws Fault for a machine without statistics. */
  async balloonStatistics(): Promise<object> {
    const machine = this.#machine
    if (machine === null || !this.#hasBalloonStatistics)
      throw new Fault(
        'Balloon statistics error: The balloon device has not been enabled or statistics are not enabled.',
      )
    const available = await machine.guestAvailableBytes()
    const held = { target_pages: 0, actual_pages: 0, target_mib: 0, actual_mib: 0 }
    return { ...held, ...(available !== null && { available_memory: available }) }
  }

  /** One after the other. Throws Fault. */
  async handle(request: Request): Promise<void> {
    const machine = this.#machine
    if (machine === null) return this.#beforeStart(request)
    return this.#afterStart(request, machine)
  }

  async #beforeStart(request: Request): Promise<void> {
    const { log } = this.#options
    switch (request.route) {
      case 'PUT /logger':
        return attempt('Logger error', () => log.configure({ path: request.body.log_path, level: request.body.level }))
      case 'PUT /metrics':
        if (log.hasMetrics) throw new Fault('Metrics error: Cannot initialize metrics: they are already.')
        return attempt('Metrics error', () => log.openMetrics(request.body.metrics_path))
      case 'PUT /snapshot/load':
        return this.#load(request.body)
      case 'PATCH /vm':
      case 'PATCH /drives/:drive_id':
      case 'PUT /snapshot/create':
        throw new Fault('The requested operation is not supported before starting the microVM.')
      case 'PUT /actions':
        if (request.body.action_type === 'InstanceStart') return this.#boot()
        throw new Fault('The requested operation is not supported before starting the microVM.')
      default:
        this.#isTouched = true
        return this.#configure(request)
    }
  }

  async #configure(request: Request): Promise<void> {
    switch (request.route) {
      case 'PUT /machine-config':
        this.#config = checkConfig(request.body)
        return
      case 'PUT /boot-source': {
        const { kernel_image_path, initrd_path } = request.body
        checkFile(kernel_image_path, 'Boot source error: The kernel file cannot be opened')
        if (initrd_path !== undefined) checkFile(initrd_path, 'Boot source error: The initrd file cannot be opened')
        this.#bootSource = request.body
        return
      }
      case 'PUT /drives/:drive_id':
        this.#drives.set(request.body.drive_id, checkDrive(request.body, this.#drives))
        if (request.body.rate_limiter !== undefined) this.#limits.set(request.body.drive_id, request.body.rate_limiter)
        return
      case 'PUT /network-interfaces/:iface_id':
        this.#network = request.body
        return
      case 'PUT /vsock':
        return this.#openVsock(request.body.guest_cid, request.body.uds_path)
      case 'PUT /balloon':
        if (request.body.amount_mib > this.#config.mem_size_mib)
          throw new Fault('Balloon config error: Amount of pages requested is too large.')
        this.#hasBalloonStatistics = (request.body.stats_polling_interval_s ?? 0) > 0
        return
      default:
        // Entropy: the machine has such a device anyway.
        return
    }
  }

  async #afterStart(request: Request, machine: Machine): Promise<void> {
    switch (request.route) {
      case 'PATCH /vm':
        return request.body.state === 'Paused' ? this.#pause(machine) : this.#resume(machine)
      case 'PATCH /drives/:drive_id':
        return this.#patchDrive(request.body, machine)
      case 'PUT /snapshot/create':
        return this.#save(request.body, machine)
      case 'PUT /actions':
        if (request.body.action_type === 'FlushMetrics') return this.#options.log.flushMetrics()
        if (request.body.action_type === 'SendCtrlAltDel') throw lacks('a keyboard')
        throw afterStart()
      default:
        throw afterStart()
    }
  }

  async #boot(): Promise<void> {
    const source = this.#bootSource
    if (source === null) throw new Fault('Start microvm error: Cannot start microvm without kernel configuration.')
    const drives = [...this.#drives.values()].toSorted((a, b) => Number(b.is_root_device) - Number(a.is_root_device))
    if (drives.length !== 2 || drives[0]?.is_root_device !== true)
      throw lacks('machines but of a root drive and one other')
    const network = this.#network
    const hardware: Hardware = {
      format: 'fc-sim 1',
      memoryMib: this.#config.mem_size_mib,
      // Firecracker tells of its devices both ways. A kernel with drivers in an initramfs is Debian's, which asks ACPI alone.
      needsAcpi: source.initrd_path !== undefined,
      drives: drives.map((drive) => ({ id: drive.drive_id, path: drive.path_on_host ?? '' })),
      network: network && {
        ...{ id: network.iface_id, tap: network.host_dev_name, mac: network.guest_mac ?? '06:00:00:00:00:01' },
      },
      vsockPath: this.#vsock?.path ?? null,
      hasBalloonStatistics: this.#hasBalloonStatistics,
    }
    const boot = { kernel: source.kernel_image_path, initrd: source.initrd_path ?? null, args: source.boot_args ?? '' }
    const machine = await Machine.boot(this.#machineOptions(hardware), boot).catch((error: unknown) => {
      throw new Fault(`Start microvm error: ${text(error)}`)
    })
    this.#take(machine)
    this.#running.resolve()
  }

  async #load(body: Body<'PUT /snapshot/load'>): Promise<void> {
    if (this.#isTouched)
      throw new Fault(
        'Load snapshot error: Loading a microVM snapshot not allowed after configuring boot-specific resources.',
      )
    try {
      if (body.mem_backend?.backend_type === 'Uffd') throw new Error('the simulator has no Uffd backend')
      const stateFd = openSync(body.snapshot_path, 'r')
      const hardware = withOverrides(readHardware(stateFd), body)
      const memory = body.mem_backend?.backend_path ?? body.mem_file_path ?? ''
      if (statSync(memory).size !== hardware.memoryMib * 1024 * 1024)
        throw new Error('the memory file has another size')
      if (hardware.vsockPath !== null) await this.#openVsock(3, hardware.vsockPath)
      this.#isPaused = true
      this.#hasBalloonStatistics = hardware.hasBalloonStatistics
      this.#take(await Machine.restore(this.#machineOptions(hardware), { stateFd, memory }))
      this.#config = { vcpu_count: 1, mem_size_mib: hardware.memoryMib }
    } catch (error) {
      // Too much was done to go on: as the real program, it answers and ends.
      setImmediate(() => this.#options.onEnd(1))
      throw new Fault(`Load snapshot error: Failed to restore from snapshot: ${text(error)}`)
    }
    if (body.resume_vm === true && this.#machine !== null) await this.#resume(this.#machine)
  }

  async #save(body: Body<'PUT /snapshot/create'>, machine: Machine): Promise<void> {
    if (!this.#isPaused)
      throw new Fault('Create snapshot error: Cannot save the microVM state: Operation not allowed: it is running')
    if (body.snapshot_type === 'Diff') throw lacks('diff snapshots')
    this.#vsock?.door.reset()
    const deviceState = path.join(this.#options.workFolder, 'state')
    try {
      await machine.save({ state: deviceState, memory: body.mem_file_path })
      await writeState(body.snapshot_path, machine.hardware, deviceState)
    } catch (error) {
      throw new Fault(`Create snapshot error: ${text(error)}`)
    } finally {
      await rm(deviceState, { force: true })
    }
  }

  async #pause(machine: Machine): Promise<void> {
    if (!this.#isPaused) this.#running = Promise.withResolvers()
    this.#isPaused = true
    await machine.pause()
  }

  async #resume(machine: Machine): Promise<void> {
    this.#isPaused = false
    await machine.resume()
    this.#running.resolve()
  }

  async #patchDrive(
    { drive_id, path_on_host, rate_limiter }: Body<'PATCH /drives/:drive_id'>,
    machine: Machine,
  ): Promise<void> {
    const fails = 'Drive config error: Unable to patch the block device'
    if (!machine.hardware.drives.some(({ id }) => id === drive_id)) throw new Fault(`${fails}: no drive "${drive_id}"`)
    if (rate_limiter !== undefined) this.#limits.set(drive_id, rate_limiter)
    if (path_on_host === undefined) return
    checkFile(path_on_host, fails)
    await machine.setDrive(drive_id, path_on_host).catch((error: unknown) => {
      throw new Fault(`${fails}: ${text(error)}`)
    })
  }

  async #openVsock(cid: number, socketPath: string): Promise<void> {
    if (cid < 3) throw new Fault('Vsock config error: Cannot create vsock device: guest_cid is reserved.')
    this.#vsock?.door.close()
    const door = await VsockDoor.open(socketPath, this.#options.workFolder).catch((error: unknown) => {
      throw new Fault(`Vsock config error: Cannot create backend for vsock device: ${text(error)}`)
    })
    this.#vsock = { path: socketPath, door }
  }

  #take(machine: Machine): void {
    this.#machine = machine
    this.#vsock?.door.connectTo({
      isListening: async (port) => {
        await this.#running.promise
        return machine.isListening(port)
      },
    })
    machine.exited.then(
      (code) => this.#options.onEnd(code === 0 ? 0 : 1),
      () => this.#options.onEnd(1),
    )
  }

  #machineOptions(hardware: Hardware): MachineOptions {
    const { workFolder, log } = this.#options
    const onStderr = (said: string): void => {
      process.stderr.write(said)
      log.write('error', said.trim())
    }
    return { hardware, workFolder, onStderr }
  }
}
