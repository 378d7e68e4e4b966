import type { Socket } from 'node:net'
import type { Driver } from '../domain/driver.ts'
import { AppError } from '../domain/error.ts'
import type { Logger } from '../domain/logger.ts'
import { PlainDriver } from '../driver/process/plain-driver.ts'
import type { Config } from './config.ts'
import { openProcessDriver } from './process-driver.ts'
import { shimFolder } from './runtimes.ts'

export interface OpenedDriver {
  readonly driver: Driver
  readonly hasVm: boolean
  close(): Promise<void>
}

/** The driver that `config.driver` names, or for `auto` the strongest that works here.
 *  Throws invalid (one that this release does not have), driver_failed (none works). */
export async function openDriver(config: Config, launcher: Socket | null, logger: Logger): Promise<OpenedDriver> {
  if (config.driver === 'firecracker' || config.driver === 'qemu')
    throw new AppError(
      'invalid',
      `Cannot use driver "${config.driver}": this release isolates in processes; microVMs come in a later one.`,
      {
        field: 'driver',
        value: config.driver,
        allowed: 'auto or process',
      },
    )
  if (launcher === null) return plain()
  return { ...(await openProcessDriver(config.data, launcher, logger)), hasVm: false }
}

/** No launcher on this system: no isolation, and the start report says so. */
function plain(): OpenedDriver {
  const driver = new PlainDriver({ shimFolder })
  return { driver, hasVm: false, close: async () => driver.close() }
}
