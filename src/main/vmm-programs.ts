import { accessSync, constants, realpathSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { AppError } from '../domain/error.ts'
import { installedFirecracker, pinnedRelease } from '../image/firecracker-release.ts'
import type { Config } from './config.ts'
import { cacheFolder } from './images.ts'

/** The programs that microVMs run on, as real paths; '' = there is none. The launcher starts these and no others. */
export interface VmmPrograms {
  readonly qemu: string
  readonly firecracker: string
  readonly jailer: string
}

const architectures: Readonly<Record<string, string>> = { x64: 'x86_64', arm64: 'aarch64' }

/** Where `hearth doctor --fix` puts Firecracker: only root makes it for root's platforms, since the jailer is started as root. */
export function vmmFolder(config: Pick<Config, 'cache'>, env: Readonly<Record<string, string | undefined>>): string {
  return path.join(cacheFolder(config.cache, env), 'vmm')
}

/** Those that the configuration names, else those on the PATH, else what `hearth doctor --fix` installed. Throws invalid for a named one that cannot be run. */
export function findVmmPrograms(
  config: Pick<Config, 'qemu' | 'firecracker' | 'jailer' | 'cache'>,
  env: Readonly<Record<string, string | undefined>>,
): VmmPrograms {
  const folders = (env['PATH'] ?? '').split(path.delimiter).filter((folder) => path.isAbsolute(folder))
  const release = pinnedRelease()
  const fetched = release === null ? null : installedFirecracker(vmmFolder(config, env), release)
  const installed: Readonly<Partial<Record<keyof VmmPrograms, readonly string[]>>> =
    fetched === null ? {} : { firecracker: [fetched.firecracker], jailer: [fetched.jailer] }
  const find = (key: keyof VmmPrograms, name: string): string => {
    if (config[key] === '') {
      const places = [...folders.map((folder) => path.join(folder, name)), ...(installed[key] ?? [])]
      return places.map(runnable).find((found) => found !== '') ?? ''
    }
    const named = runnable(config[key])
    if (named !== '') return named
    throw new AppError('invalid', `Cannot use ${key} ${config[key]}: it is no program that can be run.`, { field: key })
  }
  return {
    qemu: find('qemu', `qemu-system-${architectures[os.arch()] ?? os.arch()}`),
    firecracker: find('firecracker', 'firecracker'),
    jailer: find('jailer', 'jailer'),
  }
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
