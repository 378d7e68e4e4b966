import { AppError, invalid } from '../domain/error.ts'
import { runtimeIds } from '../domain/runtime.ts'
import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, readFile, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)
/** A build is 30 MB to fetch and 190 MB on disk. */
const installMsMax = 10 * 60_000

/** Installs the newest build of a Node runtime id (`node22`) from npm into `folder`; returns the interpreter's path.
 *  The package holds the official binary and no scripts. Throws invalid (no such Node id), driver_failed (npm's own words). */
export async function installRuntime(id: string, folder: string): Promise<string> {
  const major = /^node(\d+)$/.exec(id)?.[1]
  const known = runtimeIds.filter((each) => each.startsWith('node'))
  if (major === undefined || !known.some((each) => each === id))
    throw invalid('runtime', id, `one of ${known.join(', ')}`)
  const name = `node-${process.platform}-${process.arch}`
  await mkdir(folder, { recursive: true })
  const draft = await mkdtemp(join(folder, '.draft-'))
  try {
    await npmInstall(draft, `${name}@${major}`)
    const unpacked = join(draft, 'node_modules', name)
    const about: { version: string } = JSON.parse(await readFile(join(unpacked, 'package.json'), 'utf8'))
    const target = join(folder, `${name}-${about.version}`)
    await rm(target, { recursive: true, force: true })
    await rename(unpacked, target)
    return join(target, 'bin/node')
  } finally {
    await rm(draft, { recursive: true, force: true })
  }
}

async function npmInstall(folder: string, what: string): Promise<void> {
  const args = ['install', '--prefix', folder, '--no-save', '--no-package-lock', '--no-audit', '--no-fund']
  try {
    await run('npm', [...args, '--ignore-scripts', what], { timeout: installMsMax, maxBuffer: 16 * 1024 * 1024 })
  } catch (cause) {
    const words =
      cause instanceof Error && 'stderr' in cause ? String(cause.stderr).trim().split('\n').slice(-3).join(' ') : ''
    throw new AppError('driver_failed', `Cannot install ${what}: ${words || String(cause)}`, { cause, retryable: true })
  }
}
