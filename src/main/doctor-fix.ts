import { execFile } from 'node:child_process'
import { existsSync, mkdirSync } from 'node:fs'
import os from 'node:os'
import { promisify } from 'node:util'
import type { Context } from '../cli/context.ts'
import { AppError, toAppError } from '../domain/error.ts'
import { runtimeFamilies, type RuntimeBuild } from '../domain/runtime.ts'
import { installFirecracker, pinnedRelease } from '../image/firecracker-release.ts'
import { runtimeCatalog } from '../image/runtimes.ts'
import { readConfig } from './config.ts'
import { withStore } from './image-commands.ts'
import { progressLine } from './progress-line.ts'
import { findVmmPrograms, vmmFolder, type VmmPrograms } from './vmm-programs.ts'

/** What came of one thing that microVMs need. */
export interface Fix {
  readonly what: string
  readonly isThere: boolean
  /** One sentence: what was done, or why it could not be. */
  readonly detail: string
  readonly hint?: string
}

const installMsMax = 10 * 60_000
const qemuPackages: Readonly<Record<string, string>> = { x64: 'qemu-system-x86', arm64: 'qemu-system-arm' }

/** `hearth doctor --fix`: installs what microVMs need and this user may install. Never rejects for what cannot be had: it says why. */
export async function fixMachine(
  context: Context,
  { runtimes, mirror }: { runtimes: readonly RuntimeBuild[]; mirror: string },
): Promise<readonly Fix[]> {
  if (process.platform !== 'linux') return [{ what: 'microVMs', isThere: false, detail: 'Only Linux has them.' }]
  const fixes = [
    await attempt('QEMU', async () => fixQemu(context)),
    await attempt('Firecracker', async () => fixFirecracker(context, mirror)),
  ]
  const { qemu, firecracker } = programsOf(context)
  if (qemu === '' && firecracker === '') return fixes
  return [...fixes, await attempt('kernel', async () => fixKernel(context)), ...(await fixImages(context, runtimes))]
}

async function attempt(what: string, fix: () => Promise<string>): Promise<Fix> {
  try {
    return { what, isThere: true, detail: await fix() }
  } catch (error) {
    const { message, detail: hint } = toAppError(error)
    return { what, isThere: false, detail: message, ...(hint !== undefined && error instanceof AppError && { hint }) }
  }
}

/** Debian's package, by apt. Throws driver_failed, saying why it cannot be had. */
export async function fixQemu(context: Pick<Context, 'env' | 'cwd' | 'output'>): Promise<string> {
  const before = programsOf(context).qemu
  if (before !== '') return `It is there: ${before}.`
  const name = qemuPackages[os.arch()]
  if (name === undefined) throw cannot(`there are no microVMs on ${os.arch()}`)
  if (process.getuid?.() !== 0) throw cannot(`only root installs packages: sudo apt-get install ${name}`)
  const { output, env } = context
  output.status(`installing ${name} ...`)
  try {
    await apt(['install', '-y', '--no-install-recommends', name], env).catch(async () => {
      // A machine that was never asked for a package has no lists of them.
      await apt(['update'], env)
      await apt(['install', '-y', '--no-install-recommends', name], env)
    })
  } finally {
    output.status('')
  }
  const found = programsOf(context).qemu
  if (found === '') throw cannot(`apt-get installed ${name}, and no QEMU is on the PATH`)
  return `Installed Debian's ${name}: ${found}.`
}

async function apt(args: readonly string[], env: Context['env']): Promise<void> {
  const options = { timeout: installMsMax, env: { ...env, DEBIAN_FRONTEND: 'noninteractive' }, maxBuffer: 2 ** 24 }
  await promisify(execFile)('apt-get', [...args], options).catch((error: unknown) => {
    if (!(error instanceof Error)) throw error
    if ('code' in error && error.code === 'ENOENT')
      throw cannot("this system has no apt-get: install QEMU 7 or newer by the system's own means")
    const words = 'stderr' in error ? String(error.stderr).trim().split('\n').slice(-3).join(' ') : error.message
    throw cannot(`apt-get ${args[0]}: ${words}`)
  })
}

/** The pinned release, into the machine's cache. */
async function fixFirecracker(context: Context, mirror: string): Promise<string> {
  const before = programsOf(context)
  if (before.firecracker !== '' && before.jailer !== '') return `It is there: ${before.firecracker}.`
  const release = pinnedRelease()
  if (release === null) throw cannot(`Firecracker does not run on ${os.arch()}`)
  if (!existsSync('/dev/kvm')) throw cannot('this machine has no /dev/kvm, which Firecracker needs')
  if (process.getuid?.() !== 0) throw cannot('its jailer is started as root, so only root installs it: run with sudo')
  const folder = vmmFolder(settings(context), context.env)
  mkdirSync(folder, { recursive: true, mode: 0o755 })
  const report = progressLine(context.output, `Firecracker ${release.version}`)
  const { firecracker } = await installFirecracker(folder, { release, mirror, report }).finally(() =>
    context.output.status(''),
  )
  return `Installed release ${release.version} (SHA-256 ${release.sha256}): ${firecracker}.`
}

async function fixKernel(context: Context): Promise<string> {
  let text = ''
  await withStore(context, async (store) => {
    const report = progressLine(context.output, 'kernel')
    const { kind, release } = await store.kernel(report).finally(() => context.output.status(''))
    const faster = kind === 'debian' ? ' "hearth kernel build" makes one that is at its init a second sooner.' : ''
    text = `Linux ${release} (${kind}).${faster}`
  })
  return text
}

/** Of what `node` and `python` mean here; others are built when they are first needed. */
async function fixImages(context: Context, runtimes: readonly RuntimeBuild[]): Promise<Fix[]> {
  const catalog = runtimeCatalog(runtimes)
  const newest = runtimeFamilies.flatMap((family) => {
    const has = runtimes.some((build) => build.family === family)
    return has ? [catalog.resolve(family)] : []
  })
  const fixes: Fix[] = []
  await withStore(context, async (store) => {
    for (const build of newest)
      fixes.push(
        await attempt(`image of ${build.id}`, async () => {
          const report = progressLine(context.output, `image ${build.id}`)
          const image = await store.runtimeImage(build, report).finally(() => context.output.status(''))
          return `${build.version}: ${image.path}.`
        }),
      )
  })
  return fixes
}

function programsOf(context: Pick<Context, 'env' | 'cwd'>): VmmPrograms {
  return findVmmPrograms(settings(context), context.env)
}

function settings({ env, cwd }: Pick<Context, 'env' | 'cwd'>): ReturnType<typeof readConfig> {
  return readConfig({ flags: {}, env, cwd, file: env['HEARTH_CONFIG'] })
}

function cannot(why: string): AppError {
  return new AppError('driver_failed', `${why.slice(0, 1).toUpperCase()}${why.slice(1)}.`)
}
