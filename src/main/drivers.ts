import { createHash } from 'node:crypto'
import { mkdir, readFile, rm } from 'node:fs/promises'
import type { Socket } from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { startResolver } from '../agent/resolver.ts'
import type { Driver } from '../domain/driver.ts'
import type { ImageStore } from '../domain/image.ts'
import type { Logger } from '../domain/logger.ts'
import type { RuntimeBuild } from '../domain/runtime.ts'
import { Undo } from '../domain/undo.ts'
import { LauncherClient } from '../driver/launcher-client.ts'
import { PlainDriver } from '../driver/process/plain-driver.ts'
import { UidRange } from '../driver/uid-range.ts'
import type { Config } from './config.ts'
import type { ProbeVerdicts } from './probe-verdicts.ts'
import { openProcessDriver } from './process-driver.ts'
import { shimFolder } from './runtimes.ts'
import { openVmDrivers } from './vm-drivers.ts'
import type { VmmPrograms } from './vmm-programs.ts'

export interface OpenedDrivers {
  /** Strongest first, as the operator wants it: `auto` functions run on the first that works. */
  readonly drivers: readonly Driver[]
  readonly images: ImageStore | null
  /** Why functions that ask for nothing do not run in microVMs, a sentence for each driver; empty when they do, or nobody asked. */
  readonly lost: readonly string[]
  /** Ends machines of an earlier platform that were not recovered by now; resolves with their names. */
  sweep(): Promise<readonly string[]>
  /** What a file holds that the operator named and the platform may not read itself. Throws driver_failed. */
  readonly read: (path: string) => Promise<string>
  close(): Promise<void>
}

/** What the first stage found out, and what a probe boots. */
export interface DriverMachine {
  readonly vmms: VmmPrograms
  /** The platform gave up root's privileges. */
  readonly hasServiceUser: boolean
  readonly probeBuild: () => RuntimeBuild | null
  readonly verdicts: ProbeVerdicts
}

/** What every driver needs of this machine. */
export interface DriverContext extends DriverMachine {
  readonly config: Config
  readonly launcher: LauncherClient
  readonly uids: UidRange
  readonly resolverPort: number
  readonly logger: Logger
}

/** Each data folder has its own block of uids for Instances, so that two platforms on one machine never share one. Above what
 *  distributions and user-namespace ranges hand out (524,288 to 1,879,048,191), below 2^31. */
const uidBase = 1_900_000_000
const uidBlock = 2_048
const uidBlocks = 100_000

/** The drivers that `config.driver` asks for, in order. Throws invalid (a driver that this machine lacks what it needs for). */
export async function openDrivers(
  config: Config,
  channel: Socket | null,
  { logger, ...machine }: DriverMachine & { readonly logger: Logger },
): Promise<OpenedDrivers> {
  if (channel === null) return plain(config)
  const undo = new Undo()
  try {
    const launcher = new LauncherClient(channel, logger)
    undo.add('launcher', () => launcher.close())
    const resolver = await startResolver({ logger })
    undo.add('resolver', () => resolver.close())
    const context = { ...machine, config, launcher, uids: uidsOf(config.data), resolverPort: resolver.port, logger }
    // Where microVMs are demanded there is nothing less to fall back to.
    const process = config.isolation === 'vm' ? null : await openProcessDriver(context)
    if (process !== null) undo.add('process driver', () => process.close())
    const vms = await openVmDrivers(context)
    undo.add('vm drivers', () => vms.close())
    const drivers = inOrder(process === null ? [] : [process.driver], vms.drivers)
    return {
      drivers,
      images: vms.images,
      lost: vms.lost,
      sweep: () => vms.sweep(),
      read: reader(launcher),
      close: () => undo.run(),
    }
  } catch (error) {
    await undo.run()
    throw error
  }
}

/** A machine is the stronger boundary where it is one: emulated ones only for functions that ask for them. */
function inOrder(processes: readonly Driver[], vms: readonly { driver: Driver; isPreferred: boolean }[]): Driver[] {
  const preferred = vms.filter(({ isPreferred }) => isPreferred)
  const others = vms.filter(({ isPreferred }) => !isPreferred)
  return [...preferred.map(({ driver }) => driver), ...processes, ...others.map(({ driver }) => driver)]
}

/** No launcher on this system: no isolation, and the start report says so. */
function plain({ isolation }: Config): OpenedDrivers {
  const driver = new PlainDriver({ shimFolder })
  const drivers = isolation === 'vm' ? [] : [driver]
  const none = {
    images: null,
    lost: ['Only Linux has microVMs.'],
    sweep: async () => [],
    read: async (file: string) => readFile(file, 'utf8'),
  }
  return { ...none, drivers, close: async () => driver.close() }
}

function reader(launcher: LauncherClient): OpenedDrivers['read'] {
  return async (file) => String((await launcher.request('read', { path: file }))['content'])
}

function uidsOf(data: string): UidRange {
  const block = Number.parseInt(idOf(data).slice(0, 8), 16) % uidBlocks
  return new UidRange({ first: uidBase + block * uidBlock, count: uidBlock })
}

/** A UNIX socket's path holds 107 bytes: 40 for the instance id, some for its ending. */
const runFolderBytesMax = 60

/** 0700 folder for sockets of this start. */
export async function makeRunFolder(data: string, name: string): Promise<string> {
  const near = path.join(data, name)
  const far = path.join(os.tmpdir(), `hearth-${idOf(data)}-${name}`)
  const folder = Buffer.byteLength(near) <= runFolderBytesMax ? near : far
  // What a killed platform left there.
  await rm(folder, { recursive: true, force: true })
  // Not recursive: a folder that somebody else put in /tmp is an error, not ours.
  await mkdir(folder, { mode: 0o700 })
  return folder
}

function idOf(data: string): string {
  return createHash('sha256').update(data).digest('hex').slice(0, 12)
}
