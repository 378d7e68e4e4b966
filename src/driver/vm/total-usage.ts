import type { MachinesUsage } from '../../domain/driver.ts'
import type { VmSandbox } from './vm-sandbox.ts'

/** Of machines that live; one that goes meanwhile counts as one without figures. */
export async function totalUsage(sandboxes: readonly VmSandbox[]): Promise<MachinesUsage> {
  const usages = await Promise.all(sandboxes.map((sandbox) => sandbox.hostUsage()))
  const told = usages.filter((usage) => usage !== null)
  const available = told.flatMap(({ guestAvailableBytes }) => guestAvailableBytes ?? [])
  return {
    machines: sandboxes.length,
    memoryBytes: sum(told.map(({ memoryBytes }) => memoryBytes)),
    guestAvailableBytes: available.length === 0 ? null : sum(available),
  }
}

function sum(values: readonly number[]): number {
  return values.reduce((all, each) => all + each, 0)
}
