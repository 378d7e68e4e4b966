import { existsSync } from 'node:fs'
import type { Logger } from '../../src/domain/logger.ts'
import { qemuVersion, tscKhz } from '../../src/driver/qemu/find-qemu.ts'
import { QemuVmm } from '../../src/driver/qemu/qemu-vmm.ts'
import { openDriverRig, type DriverRig } from './driver-rig.ts'
import { guestProgram, launcherMissing } from './launcher.ts'

export const qemuProgram = '/usr/bin/qemu-system-x86_64'

/** TCG runs on every machine; `npm run nested` makes one that has KVM. */
const accelerator = process.env['HEARTH_TEST_ACCELERATOR'] === 'kvm' ? 'kvm' : 'tcg'

/** Why no microVM can be started here; null when one can. */
export function vmMissing(): string | null {
  const missing = launcherMissing()
  if (missing !== null) return missing
  return existsSync(qemuProgram) ? null : `${qemuProgram} is not installed`
}

export type VmRig = DriverRig<QemuVmm>

/** A QEMU driver over a launcher of its own. */
export async function openVmRig(options: { logger?: Logger } = {}): Promise<VmRig> {
  const version = await qemuVersion(qemuProgram)
  const facts = { version, tscKhz: tscKhz(guestProgram) }
  return openDriverRig({
    ...options,
    prefix: 'hv-',
    programs: [qemuProgram],
    firstUid: 1_810_000_000,
    async makeVmm(host) {
      const vmm = new QemuVmm({ host, program: qemuProgram, ...facts, accelerators: [accelerator] })
      // Not every test probes.
      vmm.use(accelerator)
      return vmm
    },
  })
}
