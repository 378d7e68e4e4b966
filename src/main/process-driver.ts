import { createHash } from 'node:crypto'
import { mkdir, rm } from 'node:fs/promises'
import type { Socket } from 'node:net'
import os from 'node:os'
import path from 'node:path'
import type { Logger } from '../domain/logger.ts'
import { startResolver } from '../agent/resolver.ts'
import { prepareEtc } from '../driver/process/etc.ts'
import { ProcessDriver } from '../driver/process/process-driver.ts'
import { shimFolder } from './runtimes.ts'

/** Each data folder has its own block of uids for Instances, so that two platforms on one machine never share one. Above what
 *  distributions and user-namespace ranges hand out (524,288 to 1,879,048,191), below 2^31. */
const uidBase = 1_900_000_000
const uidBlock = 2_048
const uidBlocks = 100_000

/** Where a sandbox with egress finds its resolver: the host's end of its link. */
const nameServer = '100.64.0.1'

/** A UNIX socket's path holds 107 bytes: 40 for the instance id, some for its ending. */
const runFolderBytesMax = 60

export interface OpenedDriver {
  readonly driver: ProcessDriver
  close(): Promise<void>
}

/** The process driver on this platform's folders, with the resolver that its sandboxes ask. */
export async function openProcessDriver(data: string, launcher: Socket, logger: Logger): Promise<OpenedDriver> {
  const runFolder = await makeRunFolder(data)
  const etcFolder = path.join(data, 'etc')
  await prepareEtc(etcFolder, { nameServer })
  const resolver = await startResolver({ logger })
  const uids = {
    first: uidBase + (Number.parseInt(idOf(data).slice(0, 8), 16) % uidBlocks) * uidBlock,
    count: uidBlock,
  }
  const driver = new ProcessDriver({
    launcher,
    logger,
    runFolder,
    shimFolder,
    etcFolder,
    uids,
    resolverPort: resolver.port,
  })
  return {
    driver,
    async close() {
      await resolver.close()
      await rm(runFolder, { recursive: true, force: true })
    },
  }
}

/** Always the same for a data folder: what a killed platform left there is removed by the next one. */
async function makeRunFolder(data: string): Promise<string> {
  const near = path.join(data, 'run')
  const folder = Buffer.byteLength(near) <= runFolderBytesMax ? near : path.join(os.tmpdir(), `hearth-${idOf(data)}`)
  await rm(folder, { recursive: true, force: true })
  // Not recursive: a folder that somebody else put in /tmp is an error, not ours.
  await mkdir(folder, { mode: 0o700 })
  return folder
}

function idOf(data: string): string {
  return createHash('sha256').update(data).digest('hex').slice(0, 12)
}
