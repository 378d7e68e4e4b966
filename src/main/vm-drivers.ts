import { accessSync, constants } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import type { Driver, EnforcedFeature } from '../domain/driver.ts'
import { AppError, toAppError } from '../domain/error.ts'
import type { ImageStore } from '../domain/image.ts'
import { FirecrackerVmm } from '../driver/firecracker/firecracker-vmm.ts'
import { firecrackerVersion } from '../driver/firecracker/version.ts'
import { qemuVersion, tscKhz } from '../driver/qemu/find-qemu.ts'
import { QemuVmm } from '../driver/qemu/qemu-vmm.ts'
import { VmDriver } from '../driver/vm/vm-driver.ts'
import { VmHost } from '../driver/vm/vm-host.ts'
import type { Vmm } from '../driver/vm/vmm.ts'
import type { DriverContext } from './drivers.ts'
import { platformImages } from './images.ts'
import { guestProgram } from './app.ts'
import type { Config } from './config.ts'
import { emulationRefusal } from './isolation.ts'
import { guestArchitectures, qemuArchitectures, type VmmPrograms } from './vmm-programs.ts'

export interface OpenedVms {
  readonly drivers: readonly { readonly driver: Driver; readonly isPreferred: boolean }[]
  readonly images: ImageStore | null
  /** Why functions that ask for nothing do not run in microVMs, a sentence for each driver; empty when they do. */
  readonly lost: readonly string[]
  /** Ends machines of an earlier platform that were not recovered by now; resolves with their names. */
  sweep(): Promise<readonly string[]>
  close(): Promise<void>
}

/** Traffic of one VM in each direction: 1 Gbit/s. */
const bytesPerSecond = 125_000_000

type VmName = 'firecracker' | 'qemu'
const openers = { firecracker: openFirecracker, qemu: openQemu }

/** The microVM drivers that this machine may have; on KVM they have booted a guest, whether an emulated one works is known once it was probed.
 *  Throws invalid when the configuration names one that it lacks the program for. */
export async function openVmDrivers(context: DriverContext): Promise<OpenedVms> {
  const { config, vmms } = context
  if (config.driver === 'process') return none(context, [])
  const wanted = (['firecracker', 'qemu'] as const).filter((name) => config.driver === 'auto' || config.driver === name)
  // One that is named is tried whatever is to be seen of KVM: its own boot tells.
  const hasKvm = config.driver === 'firecracker' || mayUseKvm()
  const missing = missingVmms(vmms, { hasKvm }).filter(({ name }) => wanted.includes(name))
  refuseMissing(config, missing)
  const lost = missing.map(({ name, detail }) => `${name}: ${detail}`)
  const names = wanted.filter((name) => !missing.some((each) => each.name === name))
  if (names.length === 0) return none(context, lost)
  const images = platformImages(config, context)
  const runFolder = path.join(config.data, 'vm')
  await mkdir(runFolder, { recursive: true, mode: 0o700 })
  const host = new VmHost({
    launcher: context.launcher,
    uids: context.uids,
    runFolder,
    resolverPort: context.resolverPort,
    bytesPerSecond,
  })
  await host.survey()
  const drivers: { driver: VmDriver; isPreferred: boolean }[] = []
  const close = async (): Promise<void> => {
    for (const { driver } of drivers) await driver.close()
    await host.close()
    await images.close()
  }
  for (const name of names) {
    try {
      const { driver, why } = await openDriver(name, context, { images, host })
      const isPreferred = config.driver === name || why === null
      drivers.push({ driver, isPreferred })
      if (!isPreferred) lost.push(`${name}: ${why}`)
    } catch (error) {
      if (config.driver === name) {
        await close()
        throw error
      }
      lost.push(`${name}: ${toAppError(error).message}`)
    }
  }
  const isLess = !drivers.some(({ isPreferred }) => isPreferred)
  return { drivers, images, lost: isLess ? lost : [], sweep: () => host.sweep(), close }
}

/** Machines that an earlier platform left serve nobody any more. */
async function none({ launcher }: DriverContext, lost: readonly string[]): Promise<OpenedVms> {
  await launcher.request('vm_sweep')
  return { drivers: [], images: null, lost, sweep: async () => [], close: async () => {} }
}

/** Who names a driver gets no other, whatever it is that this one lacks. Throws invalid, with what helps. */
export function refuseMissing({ driver }: Pick<Config, 'driver'>, missing: ReturnType<typeof missingVmms>): void {
  const found = missing.find(({ name }) => name === driver)
  if (found === undefined) return
  throw new AppError('invalid', `Cannot use driver "${driver}": ${lowerFirst(found.detail)}`, {
    ...{ field: 'driver', value: driver, detail: `What helps: ${found.fix}.` },
    allowed: 'auto, process, or one whose program is installed: "hearth doctor" names the fix',
  })
}

function lowerFirst(text: string): string {
  return `${text.slice(0, 1).toLowerCase()}${text.slice(1)}`
}

/** What cannot even be tried, and what helps. */
export function missingVmms(
  vmms: VmmPrograms,
  { arch = os.arch(), hasKvm = mayUseKvm() }: { arch?: string; hasKvm?: boolean } = {},
): { name: VmName; detail: string; fix: string }[] {
  const missing: { name: VmName; detail: string; fix: string }[] = []
  const install =
    'sudo hearth doctor --fix (a pinned release), or put Firecracker and its jailer on the PATH, or name them with --firecracker and --jailer'
  const kvm = 'a machine with KVM, or nested virtualisation'
  const otherMachine = 'a machine with an x86-64 processor'
  if (!guestArchitectures.includes(arch)) {
    const detail = `There is no kernel for guests on ${arch} yet.`
    missing.push({ name: 'firecracker', detail, fix: otherMachine })
  }
  // Before the programs: none helps where it is not, and doctor --fix installs none there.
  else if (!hasKvm) missing.push({ name: 'firecracker', detail: 'This machine has no /dev/kvm.', fix: kvm })
  else if (vmms.firecracker === '')
    missing.push({ name: 'firecracker', detail: 'Its program is not on this machine.', fix: install })
  else if (vmms.jailer === '')
    missing.push({ name: 'firecracker', detail: 'Its jailer is not on this machine.', fix: install })
  if (!qemuArchitectures.includes(arch))
    missing.push({
      name: 'qemu',
      detail: `Its "microvm" machine is there on x86-64 alone, and this is ${arch}.`,
      fix: otherMachine,
    })
  else if (vmms.qemu === '')
    missing.push({
      name: 'qemu',
      detail: 'Its program is not on this machine.',
      fix: 'apt-get install qemu-system-x86, or sudo hearth doctor --fix',
    })
  return missing
}

/** The driver, and why it is none for functions that did not ask for it: KVM did not boot a guest, and an emulated one is for those that do. */
async function openDriver(
  name: VmName,
  context: DriverContext,
  parts: { images: ImageStore; host: VmHost },
): Promise<{ driver: VmDriver; why: string | null }> {
  const { config, verdicts, logger, probeBuild, hasServiceUser } = context
  const { vmm } = await openers[name](context, parts)
  const isNamed = config.driver === name
  const tested = `${name} ${vmm.version} on kvm`
  const before = isNamed ? null : verdicts.failureOf(tested)
  const emulation = emulationRefusal(config)
  const refused = { ...(emulation !== null && { tcg: emulation }), ...(before !== null && { kvm: before }) }
  const instancesFolder = path.join(config.data, 'instances')
  const own = { vmm, images: parts.images, instancesFolder }
  const driver = new VmDriver({ ...own, logger, enforced: vmFeatures, probeBuild, refused })
  // It is tried when the agent registers, on everything it can.
  if (isNamed) return { driver, why: null }
  const emulated = emulation ?? 'no security boundary, and for functions that ask for isolation vm'
  const without = (why: string): string => (name === 'qemu' ? `${why}; emulated: ${emulated}.` : `${why}.`)
  if (!mayUseKvm()) return { driver, why: without('this machine has no /dev/kvm') }
  if (!hasServiceUser) return { driver, why: without('microVMs need a platform that is started as root') }
  const tried = await driver.try('kvm').catch((error: unknown) => ({ error: toAppError(error) }))
  if ('error' in tried) return { driver, why: tried.error.message }
  if (!('failure' in tried)) return { driver, why: null }
  if (before === null) verdicts.failed(tested, tried.failure)
  return { driver, why: without(`KVM boots no guest here (${tried.failure.replace(/\.$/, '')})`) }
}

async function openQemu({ vmms }: DriverContext, { host }: { host: VmHost }): Promise<{ vmm: Vmm }> {
  const version = await qemuVersion(vmms.qemu)
  const accelerators = mayUseKvm() ? (['kvm', 'tcg'] as const) : (['tcg'] as const)
  return { vmm: new QemuVmm({ host, program: vmms.qemu, version, tscKhz: tscKhz(guestProgram), accelerators }) }
}

async function openFirecracker({ vmms }: DriverContext, { host }: { host: VmHost }): Promise<{ vmm: Vmm }> {
  const version = await firecrackerVersion(vmms.firecracker)
  return { vmm: new FirecrackerVmm({ host, jailer: vmms.jailer, program: vmms.firecracker, version }) }
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
