import { rm } from 'node:fs/promises'
import path from 'node:path'
import { prepareEtc } from '../driver/process/etc.ts'
import { ProcessDriver } from '../driver/process/process-driver.ts'
import { makeRunFolder, type DriverContext } from './drivers.ts'
import { shimFolder } from './runtimes.ts'

/** Where a sandbox with egress finds its resolver: the host's end of its link. */
const nameServer = '100.64.0.1'

export interface OpenedProcessDriver {
  readonly driver: ProcessDriver
  close(): Promise<void>
}

/** The process driver on this platform's folders. */
export async function openProcessDriver(context: DriverContext): Promise<OpenedProcessDriver> {
  const { config, launcher, uids, resolverPort, logger } = context
  const runFolder = await makeRunFolder(config.data, 'run')
  const etcFolder = path.join(config.data, 'etc')
  await prepareEtc(etcFolder, { nameServer, uids })
  const driver = new ProcessDriver({ launcher, logger, runFolder, shimFolder, etcFolder, uids, resolverPort })
  return { driver, close: async () => rm(runFolder, { recursive: true, force: true }) }
}
