import { accessSync, constants } from 'node:fs'
import { Fault, type Body } from './bodies.ts'
import type { Hardware } from './snapshot-file.ts'

/* What Firecracker checks of a body beyond its shape, and what the simulator lacks although Firecracker has it. */

type Drive = Body<'PUT /drives/:drive_id'>

export function checkConfig(config: Body<'PUT /machine-config'>): Body<'PUT /machine-config'> {
  const { vcpu_count, mem_size_mib, huge_pages, cpu_template } = config
  if (mem_size_mib === 0)
    throw new Fault('Machine config error: The memory size (MiB) is either 0, or not a multiple of the page size.')
  if (vcpu_count < 1 || vcpu_count > 32 || (vcpu_count > 1 && vcpu_count % 2 === 1))
    throw new Fault('Machine config error: The number of vCPUs must be 1 or an even number, at most 32.')
  if (vcpu_count > 1) throw lacks('machines of more than one processor')
  if (huge_pages === '2M') throw lacks('huge pages')
  if (cpu_template !== undefined && cpu_template !== 'None') throw lacks('processor templates')
  return config
}

export function checkDrive(drive: Drive, others: ReadonlyMap<string, Drive>): Drive {
  const { drive_id, is_root_device, is_read_only, path_on_host, socket } = drive
  if (socket !== undefined) throw lacks('vhost-user drives')
  if (path_on_host === undefined || is_read_only === undefined)
    throw new Fault(
      'Drive config error: Unable to create the virtio block device: path_on_host and is_read_only are required.',
    )
  if (is_root_device && [...others.values()].some((each) => each.is_root_device && each.drive_id !== drive_id))
    throw new Fault('Drive config error: A root block device already exists!')
  if (!is_read_only) throw lacks('drives that can be written')
  checkFile(path_on_host, 'Drive config error: Unable to create the virtio block device')
  return drive
}

export function withOverrides(hardware: Hardware, body: Body<'PUT /snapshot/load'>): Hardware {
  let { network } = hardware
  for (const { iface_id, host_dev_name } of body.network_overrides ?? []) {
    if (network?.id !== iface_id) throw new Error(`unknown network device "${iface_id}"`)
    network = { ...network, tap: host_dev_name }
  }
  return { ...hardware, network }
}

/** Throws Fault beginning with `fails` when the file cannot be read. */
export function checkFile(path: string, fails: string): void {
  try {
    accessSync(path, constants.R_OK)
  } catch (error) {
    throw new Fault(`${fails}: ${text(error)}`)
  }
}

export function attempt(fails: string, step: () => void): void {
  try {
    step()
  } catch (error) {
    throw new Fault(`${fails}: ${text(error)}`)
  }
}

/** Firecracker can, this cannot. */
export function lacks(what: string): Fault {
  return new Fault(`The requested operation is not supported: fc-sim has no ${what}.`)
}

export function afterStart(): Fault {
  return new Fault('The requested operation is not supported after starting the microVM.')
}

export function text(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
