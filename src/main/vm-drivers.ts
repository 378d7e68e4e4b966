import type { Driver } from '../domain/driver.ts'
import { AppError } from '../domain/error.ts'
import type { ImageStore } from '../domain/image.ts'
import type { DriverContext } from './drivers.ts'

export interface OpenedVms {
  readonly drivers: readonly { readonly driver: Driver; readonly isPreferred: boolean }[]
  readonly images: ImageStore | null
  close(): Promise<void>
}

/** The microVM drivers that this machine may have. Throws invalid when the configuration names one that it lacks. */
export async function openVmDrivers({ config }: DriverContext): Promise<OpenedVms> {
  if (config.driver === 'firecracker' || config.driver === 'qemu')
    throw new AppError(
      'invalid',
      `Cannot use driver "${config.driver}": this release isolates in processes; microVMs come in a later one.`,
      { field: 'driver', value: config.driver, allowed: 'auto or process' },
    )
  return { drivers: [], images: null, close: async () => {} }
}
