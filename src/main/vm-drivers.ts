import { accessSync, constants } from 'node:fs'
import type { Driver, EnforcedFeature } from '../domain/driver.ts'
import { AppError, toAppError } from '../domain/error.ts'
import type { ImageStore } from '../domain/image.ts'
import { FirecrackerVmm } from '../driver/firecracker/firecracker-vmm.ts'
import { firecrackerVersion } from '../driver/firecracker/version.ts'
import { qemuFacts } from '../driver/qemu/find-qemu.ts'
import { QemuVmm } from '../driver/qemu/qemu-vmm.ts'
import { VmDriver } from '../driver/vm/vm-driver.ts'
import { VmHost } from '../driver/vm/vm-host.ts'
import { makeRunFolder, type DriverContext } from './drivers.ts'
import { platformImages } from './images.ts'

export interface OpenedVms {
  readonly drivers: readonly { readonly driver: Driver; readonly isPreferred: boolean }[]
  readonly images: ImageStore | null
  close(): Promise<void>
}

/** Traffic of one VM in each direction: 1 Gbit/s. */
const bytesPerSecond = 125_000_000

/** The microVM drivers that this machine may have; whether one works is known once it was probed.
 *  Throws invalid when the configuration names one that it lacks the program for. */
export async function openVmDrivers(context: DriverContext): Promise<OpenedVms> {
  const { config, vmms } = context
  if (config.driver === 'process') return none
  if (config.driver !== 'auto' && vmms[config.driver] === '')
    throw new AppError('invalid', `Cannot use driver "${config.driver}": its program is not on this machine.`, {
      field: 'driver',
      value: config.driver,
      allowed: 'auto, process, or one whose program is installed: "hearth doctor" names the fix',
    })
  const openers = [
    {
      name: 'firecracker',
      open: openFirecracker,
      isThere: vmms.firecracker !== '' && vmms.jailer !== '' && mayUseKvm(),
    },
    { name: 'qemu', open: openQemu, isThere: vmms.qemu !== '' },
  ].filter(({ name, isThere }) => isThere && (config.driver === 'auto' || config.driver === name))
  if (openers.length === 0) return none
  const images = platformImages(config, context)
  const host = new VmHost({
    launcher: context.launcher,
    uids: context.uids,
    runFolder: await makeRunFolder(config.data, 'vm', { isKept: true }),
    resolverPort: context.resolverPort,
    bytesPerSecond,
  })
  // A machine that an earlier platform left serves nobody any more.
  await host.sweep().catch((error: unknown) => {
    context.logger.warn('vm.sweep.failed', { error: toAppError(error).message })
  })
  const drivers: { driver: VmDriver; isPreferred: boolean }[] = []
  const close = async (): Promise<void> => {
    for (const { driver } of drivers) await driver.close()
    await images.close()
  }
  for (const { name, open } of openers) {
    try {
      const driver = await open(context, { images, host })
      // An emulated machine is for functions that ask for one; Firecracker needs KVM, and there it is the stronger boundary.
      drivers.push({ driver, isPreferred: config.driver === name || name === 'firecracker' })
    } catch (error) {
      if (config.driver === name) {
        await close()
        throw error
      }
      context.logger.warn('driver.skipped', { driver: name, error: toAppError(error).message })
    }
  }
  return { drivers, images, close }
}

const none: OpenedVms = { drivers: [], images: null, close: async () => {} }

async function openQemu(
  { vmms, logger, probeBuild }: DriverContext,
  { images, host }: { images: ImageStore; host: VmHost },
): Promise<VmDriver> {
  const { version, tscKhz } = await qemuFacts(vmms.qemu)
  const accelerators = mayUseKvm() ? (['kvm', 'tcg'] as const) : (['tcg'] as const)
  const vmm = new QemuVmm({ host, program: vmms.qemu, version, tscKhz, accelerators })
  return new VmDriver({ vmm, images, logger, enforced: vmFeatures, probeBuild })
}

async function openFirecracker(
  { vmms, logger, probeBuild }: DriverContext,
  { images, host }: { images: ImageStore; host: VmHost },
): Promise<VmDriver> {
  const version = await firecrackerVersion(vmms.firecracker)
  const vmm = new FirecrackerVmm({ host, jailer: vmms.jailer, program: vmms.firecracker, version })
  return new VmDriver({ vmm, images, logger, enforced: vmFeatures, probeBuild })
}

/** What holds whatever the accelerator; an emulated machine is no boundary against a guest that attacks its VMM. */
const vmFeatures: readonly EnforcedFeature[] = [
  { feature: 'own_kernel', enforced: true, detail: 'a microVM for each Instance' },
  { feature: 'memory_limit', enforced: true, detail: "the runtime's cgroup in the guest, and the machine's size" },
  { feature: 'pids_limit', enforced: true, detail: "the runtime's cgroup in the guest" },
  { feature: 'own_uid', enforced: true, detail: 'for each VMM process' },
  { feature: 'no_capabilities', enforced: true, detail: 'VMM process' },
  { feature: 'net_ns', enforced: true, detail: 'one for each VM, with its own network interface' },
  { feature: 'private_root', enforced: true, detail: 'read-only in the guest; the VMM sees its own files only' },
]

/** To be found out by booting: the file can be there and the machine behind it hang. */
function mayUseKvm(): boolean {
  try {
    accessSync('/dev/kvm', constants.F_OK)
    return true
  } catch {
    return false
  }
}
