import { AppError } from '../../domain/error.ts'
import { dependenciesOf, fetchPackage, installedVersion, unpackPackage } from '../debian-packages.ts'
import { readdirSync } from 'node:fs'
import path from 'node:path'

export interface KernelSource {
  /** A tarball with one folder. */
  readonly archive: string
  /** Package and version, e.g. `linux-source-6.1 6.1.192-3`. */
  readonly origin: string
}

const installedFolder = '/usr/src'

/** Debian's kernel source: the newest that is installed, else the one of this Debian, fetched into `draft` without being installed.
 *  Throws driver_failed, with the command that installs it. */
export function kernelSource(draft: string): KernelSource {
  const installed = archiveIn(installedFolder)
  if (installed !== null) {
    const name = path.basename(installed, '.tar.xz')
    return { archive: installed, origin: `${name} ${installedVersion(name) ?? 'of unknown version'}` }
  }
  const name = dependenciesOf('linux-source').find((each) => each.startsWith('linux-source-'))
  const file = name === undefined ? null : fetchPackage(name, draft)
  if (file === null)
    throw new AppError(
      'driver_failed',
      `Cannot build a kernel: its source is neither installed nor to be fetched. Run "apt-get update", then "apt-get install ${name ?? 'linux-source'}".`,
      { retryable: true },
    )
  const folder = path.join(draft, 'source-package')
  unpackPackage(file, folder)
  const archive = archiveIn(path.join(folder, 'usr/src'))
  if (archive === null)
    throw new AppError('driver_failed', `Cannot build a kernel: "${path.basename(file)}" holds no source.`)
  const [, version = ''] = path.basename(file).split('_')
  return { archive, origin: `${name} ${version.replaceAll('%3a', ':')}` }
}

function archiveIn(folder: string): string | null {
  const names = readdirSync(folder).filter((name) => /^linux-source-[\d.]+\.tar\.xz$/.test(name))
  const newest = names.sort((a, b) => a.localeCompare(b, 'en', { numeric: true })).at(-1)
  return newest === undefined ? null : path.join(folder, newest)
}
