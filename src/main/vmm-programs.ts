import { accessSync, constants, realpathSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { AppError } from '../domain/error.ts'
import { installedFirecracker, pinnedRelease, type FirecrackerPrograms } from '../image/firecracker-release.ts'
import type { Config } from './config.ts'
import { cacheFolder } from './images.ts'

/** The programs that microVMs run on, as real paths; '' = there is none. The launcher starts these and no others. */
export interface VmmPrograms {
  readonly qemu: string
  readonly firecracker: string
  readonly jailer: string
}

type Name = keyof VmmPrograms

/** Processors for which there is a kernel for guests: see ADR 0011. Without one no driver makes machines. */
export const guestArchitectures: readonly string[] = ['x64']

/** QEMU has its machine `microvm`, which the driver makes, for these processors alone. */
export const qemuArchitectures: readonly string[] = ['x64']

/** Where `hearth doctor --fix` puts Firecracker: only root makes it for root's platforms, since the jailer is started as root. */
export function vmmFolder(config: Pick<Config, 'cache'>, env: Readonly<Record<string, string | undefined>>): string {
  return path.join(cacheFolder(config.cache, env), 'vmm')
}

/** Those that the configuration names, else those on the PATH, else what `hearth doctor --fix` installed. Firecracker and its jailer are of one release, so both come from
 *  one of these places; of a place that has only one of them the other is told as ''. Throws invalid for a named one that cannot be run. */
export function findVmmPrograms(
  config: Pick<Config, 'qemu' | 'firecracker' | 'jailer' | 'cache'>,
  env: Readonly<Record<string, string | undefined>>,
): VmmPrograms {
  const folders = (env['PATH'] ?? '').split(path.delimiter).filter((folder) => path.isAbsolute(folder))
  const find = (name: string, places = folders): string =>
    places.map((folder) => runnable(path.join(folder, name))).find((found) => found !== '') ?? ''
  const qemu = named('qemu', config) || (qemuArchitectures.includes(os.arch()) ? find('qemu-system-x86_64') : '')
  const own = { firecracker: named('firecracker', config), jailer: named('jailer', config) }
  if (own.firecracker !== '' || own.jailer !== '') {
    // Whoever names one has the other beside it, or on the PATH.
    const places = [path.dirname(config.firecracker || config.jailer), ...folders]
    const { firecracker, jailer } = own
    return {
      qemu,
      firecracker: firecracker || find('firecracker', places),
      jailer: jailer || find('jailer', places),
    }
  }
  const onPath = { firecracker: find('firecracker'), jailer: find('jailer') }
  const isWhole = onPath.firecracker !== '' && onPath.jailer !== ''
  return { qemu, ...((isWhole ? null : installedPair(config, env)) ?? onPath) }
}

/** What `hearth doctor --fix` installed; null when it did not, or not whole. */
function installedPair(
  config: Pick<Config, 'cache'>,
  env: Readonly<Record<string, string | undefined>>,
): FirecrackerPrograms | null {
  const release = pinnedRelease()
  if (release === null) return null
  const fetched = installedFirecracker(vmmFolder(config, env), release)
  const [firecracker, jailer] = [runnable(fetched.firecracker), runnable(fetched.jailer)]
  return firecracker === '' || jailer === '' ? null : { firecracker, jailer }
}

function named(name: Name, config: Pick<Config, Name>): string {
  if (config[name] === '') return ''
  const program = runnable(config[name])
  if (program !== '') return program
  throw new AppError('invalid', `Cannot use ${name} ${config[name]}: it is no program that can be run.`, {
    field: name,
  })
}

/** The real path of a program; '' when it cannot be run. */
function runnable(file: string): string {
  try {
    accessSync(file, constants.X_OK)
    return realpathSync(file)
  } catch {
    return ''
  }
}
