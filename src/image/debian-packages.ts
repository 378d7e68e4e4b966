import { AppError } from '../domain/error.ts'
import { isMissing } from '../domain/is-missing.ts'
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync } from 'node:fs'
import path from 'node:path'

/** A file of a Debian package: its path on a machine that has it, and where it lies here. */
export interface PackageFile {
  readonly path: string
  readonly source: string
}

const commandMsMax = 5 * 60_000

/** Files of each of the packages `names`, as dpkg lists what is installed; what is not is fetched into `draft` and unpacked there, never installed.
 *  A package that cannot be had is missing from the result. Runs dpkg and apt synchronously, without root: for worker threads. */
export function packageFiles(names: readonly string[], draft: string): Map<string, PackageFile[]> {
  const found = new Map<string, PackageFile[]>()
  for (const name of names) {
    const files = installedFiles(name) ?? fetchedFiles(name, draft)
    if (files !== null) found.set(name, files)
  }
  return found
}

/** The file of a package, downloaded as it is into `folder`; null when apt does not have it. Throws driver_failed without apt. */
export function fetchPackage(name: string, folder: string): string | null {
  mkdirSync(folder, { recursive: true })
  if (run('apt-get', ['download', '-qq', name], folder) === null) return null
  const file = readdirSync(folder).find((each) => each.startsWith(`${name}_`) && each.endsWith('.deb'))
  return file === undefined ? null : path.join(folder, file)
}

export function unpackPackage(file: string, folder: string): void {
  mkdirSync(folder, { recursive: true })
  if (run('dpkg-deb', ['-x', file, folder], path.dirname(file)) === null)
    throw new AppError('driver_failed', `Cannot unpack "${file}": dpkg-deb refused it.`, { retryable: true })
}

/** Version of an installed package, or null. */
export function installedVersion(name: string): string | null {
  const output = run('dpkg-query', ['-W', '-f', '${db:Status-Status} ${Version}', name], '/')
  const [status, version] = (output ?? '').split(' ')
  return status === 'installed' && version !== undefined ? version : null
}

/** Packages that `name` depends on, as apt knows it; none when apt or the package is missing. */
export function dependenciesOf(name: string): string[] {
  const output = run('apt-cache', ['depends', '--important', name], '/') ?? ''
  return [...output.matchAll(/^ *Depends: (\S+)$/gm)].map(([, each]) => each ?? '')
}

function installedFiles(name: string): PackageFile[] | null {
  if (installedVersion(name) === null) return null
  const listed = (run('dpkg-query', ['-L', name], '/') ?? '').split('\n').filter((line) => path.isAbsolute(line))
  // Diversions are told between the files: what is not where it should be is somebody else's.
  return listed.filter((file) => existsSync(file)).map((file) => ({ path: file, source: file }))
}

function fetchedFiles(name: string, draft: string): PackageFile[] | null {
  const file = fetchPackage(name, path.join(draft, 'debs'))
  if (file === null) return null
  const folder = path.join(draft, 'packages', name)
  unpackPackage(file, folder)
  const entries = readdirSync(folder, { recursive: true, withFileTypes: true })
  return entries.map((entry) => {
    const source = path.join(entry.parentPath, entry.name)
    return { path: `/${path.relative(folder, source)}`, source }
  })
}

/** The command's output, or null when it failed. Not being there at all is another matter. */
function run(program: string, args: readonly string[], cwd: string): string | null {
  try {
    return execFileSync(program, args, {
      cwd,
      encoding: 'utf8',
      timeout: commandMsMax,
      maxBuffer: 64 * 1024 * 1024,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C.UTF-8' },
    })
  } catch (cause) {
    if (!isMissing(cause)) return null
    throw new AppError(
      'driver_failed',
      `Cannot run ${program}: images are made from Debian's packages, and this machine does not have it. Build on Debian, or copy the cache of a machine that has built.`,
      { cause },
    )
  }
}
