import { existsSync } from 'node:fs'
import type { Logger } from '../../src/domain/logger.ts'
import { FirecrackerVmm } from '../../src/driver/firecracker/firecracker-vmm.ts'
import { firecrackerVersion } from '../../src/driver/firecracker/version.ts'
import { openDriverRig, type DriverRig } from './driver-rig.ts'
import { firecrackerProgram as program, hasRealFirecracker, jailerProgram as jailer } from './platform.ts'
import { vmMissing } from './vm-rig.ts'

/** Why the Firecracker driver cannot be tried here; null when it can. */
export function firecrackerMissing(): string | null {
  const missing = vmMissing()
  if (missing !== null) return missing
  return existsSync('/dev/net/tun') ? null : '/dev/net/tun is not here'
}

export type FirecrackerRig = DriverRig<FirecrackerVmm>

/** A Firecracker driver over a launcher of its own. */
export async function openFirecrackerRig(logger?: Logger): Promise<FirecrackerRig> {
  const version = await firecrackerVersion(program)
  const accelerator = hasRealFirecracker ? 'kvm' : 'tcg'
  return openDriverRig({
    prefix: 'hf-',
    programs: [program, jailer],
    firstUid: 1_820_000_000,
    ...(logger !== undefined && { logger }),
    makeVmm: async (host) => new FirecrackerVmm({ host, program, jailer, version, accelerator }),
  })
}
