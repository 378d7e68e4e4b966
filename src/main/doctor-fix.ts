import { execFile } from 'node:child_process'
import { existsSync, mkdirSync } from 'node:fs'
import os from 'node:os'
import { promisify } from 'node:util'
import type { Context } from '../cli/context.ts'
import { AppError, toAppError } from '../domain/error.ts'
import { isMissing } from '../domain/is-missing.ts'
import { runtimeFamilies, type RuntimeBuild } from '../domain/runtime.ts'
import { firecrackerVersion } from '../driver/firecracker/version.ts'
import { qemuVersion } from '../driver/qemu/find-qemu.ts'
import { installFirecracker, pinnedRelease } from '../image/firecracker-release.ts'
import { runtimeCatalog } from '../image/runtimes.ts'
import { readConfig } from './config.ts'
import { withStore } from './image-commands.ts'
import { progressLine } from './progress-line.ts'
import { findVmmPrograms, guestArchitectures, qemuArchitectures, vmmFolder, type VmmPrograms } from './vmm-programs.ts'

type FixContext = Pick<Context, 'env' | 'cwd' | 'output'>

/** What came of one thing that microVMs need. */
export interface Fix {
  readonly what: string
  readonly isThere: boolean
  /** One sentence: what was done, or why it could not be. */
  readonly detail: string
  readonly hint?: string
}

const installMsMax = 10 * 60_000
const qemuPackage = 'qemu-system-x86'

/** `hearth doctor --fix`: installs what microVMs need and this user may install. Never rejects for what cannot be had: it says why. */
export async function fixMachine(
  context: FixContext,
  { runtimes, mirror }: { runtimes: readonly RuntimeBuild[]; mirror: string },
): Promise<readonly Fix[]> {
  if (process.platform !== 'linux') return [{ what: 'microVMs', isThere: false, detail: 'Only Linux has them.' }]
  const fixes = [
    await attempt('QEMU', async () => fixQemu(context)),
    await attempt('Firecracker', async () => fixFirecracker(context, mirror)),
  ]
  if (!fixes.some(({ isThere }) => isThere)) return fixes
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

/** Debian's package, by apt. Throws driver_failed, saying why it cannot be had; invalid for settings that cannot be. */
export async function fixQemu(
  context: FixContext,
  { arch = os.arch(), aptMsMax = installMsMax }: { arch?: string; aptMsMax?: number } = {},
): Promise<string> {
  if (!qemuArchitectures.includes(arch)) throw cannot(`QEMU makes microVMs on x86-64 alone, and this is ${arch}`)
  const before = programsOf(context).qemu
  if (before !== '') return `It is there: ${before}, version ${await versionOf(before, qemuVersion)}.`
  if (process.getuid?.() !== 0) throw cannot(`only root installs packages: sudo apt-get install ${qemuPackage}`)
  const { output, env } = context
  const install = (): Promise<void> =>
    apt(['install', '-y', '--no-install-recommends', qemuPackage], { env, timeoutMs: aptMsMax })
  output.status(`installing ${qemuPackage} ...`)
  try {
    await install().catch(async (error: unknown) => {
      if (!(error instanceof AppError && error.retryable)) throw error
      // A machine that was never asked for a package has no lists of them.
      await apt(['update'], { env, timeoutMs: aptMsMax })
      await install()
    })
  } finally {
    output.status('')
  }
  const found = programsOf(context).qemu
  if (found === '') throw cannot(`apt-get installed ${qemuPackage}, and no QEMU is on the PATH`)
  return `Installed Debian's ${qemuPackage}: ${found}, version ${await versionOf(found, qemuVersion)}.`
}

/** Throws driver_failed, retryable when apt-get itself said no: not when it was stopped, which may have been in the midst of a package. */
async function apt(
  args: readonly string[],
  { env, timeoutMs }: { env: Context['env']; timeoutMs: number },
): Promise<void> {
  const options = { timeout: timeoutMs, env: { ...env, DEBIAN_FRONTEND: 'noninteractive' }, maxBuffer: 2 ** 24 }
  const what = `apt-get ${args[0]}`
  await promisify(execFile)('apt-get', [...args], options).catch((error: unknown) => {
    if (!(error instanceof Error)) throw error
    if (isMissing(error)) throw cannot("this system has no apt-get: install QEMU 7 or newer by the system's own means")
    if ('killed' in error && error.killed === true)
      throw cannot(`${what} was stopped after ${timeoutMs / 1_000} s`, { hint: repairHint })
    if ('signal' in error && typeof error.signal === 'string')
      throw cannot(`${what} was ended by ${error.signal}`, { hint: repairHint })
    const told = 'stderr' in error ? String(error.stderr).trim() : ''
    const words = (told || error.message.trim()).split('\n').slice(-3).join(' ').replace(/\.$/, '')
    throw cannot(`${what}: ${words}`, { retryable: true })
  })
}

const repairHint =
  'If it was in the midst of a package, "dpkg --configure -a" sets that right; then run it again, or apt-get by hand.'

/** The pinned release, into the machine's cache. */
async function fixFirecracker(context: FixContext, mirror: string): Promise<string> {
  const before = programsOf(context)
  if (before.firecracker !== '' && before.jailer !== '')
    return `It is there: ${before.firecracker}, version ${await versionOf(before.firecracker, firecrackerVersion)}, and ${before.jailer}.`
  const { firecracker: named, jailer } = settings(context)
  if (named !== '' || jailer !== '')
    throw cannot(`the settings name ${named || jailer}, and there is no ${named ? 'jailer' : 'firecracker'} to it`)
  const release = pinnedRelease()
  if (release === null) throw cannot(`Firecracker does not run on ${os.arch()}`)
  if (!guestArchitectures.includes(os.arch())) throw cannot(`there is no kernel for guests on ${os.arch()} yet`)
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

/** Throws driver_failed when `program` does not run or is too old: what would be installed comes after it. */
async function versionOf(program: string, ask: (program: string) => Promise<string>): Promise<string> {
  return ask(program).catch((cause: unknown) => {
    throw new AppError('driver_failed', toAppError(cause).message, {
      cause,
      detail: `It is ${program}, which platforms take before what this installs: replace it, or take it away and run this again.`,
    })
  })
}

async function fixKernel(context: FixContext): Promise<string> {
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
async function fixImages(context: FixContext, runtimes: readonly RuntimeBuild[]): Promise<Fix[]> {
  const catalog = runtimeCatalog(runtimes)
  const newest = runtimeFamilies.flatMap((family) => {
    const has = runtimes.some((build) => build.family === family)
    return has ? [catalog.resolve(family)] : []
  })
  const fixes: Fix[] = []
  const all = await attempt('images', async () => {
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
    return ''
  })
  return all.isThere ? fixes : [...fixes, all]
}

function programsOf(context: Pick<Context, 'env' | 'cwd'>): VmmPrograms {
  return findVmmPrograms(settings(context), context.env)
}

function settings({ env, cwd }: Pick<Context, 'env' | 'cwd'>): ReturnType<typeof readConfig> {
  return readConfig({ flags: {}, env, cwd, file: env['HEARTH_CONFIG'] })
}

function cannot(why: string, { hint, retryable = false }: { hint?: string; retryable?: boolean } = {}): AppError {
  const message = `${why.slice(0, 1).toUpperCase()}${why.slice(1)}.`
  return new AppError('driver_failed', message, { retryable, ...(hint !== undefined && { detail: hint }) })
}
