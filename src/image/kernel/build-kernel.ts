import { AppError } from '../../domain/error.ts'
import type { KernelProfile, ReportProgress } from '../../domain/image.ts'
import { prepareDrafts } from '../drafts.ts'
import { BuildSteps, programFolders, type Builder } from './build-steps.ts'
import { checkKernelConfig, kernelConfig } from './kernel-config.ts'
import { shelvedKernels, shelveKernel, useKernel, type ShelvedKernel } from './kernel-shelf.ts'
import { kernelSource, type KernelSource } from './kernel-source.ts'
import { execFileSync } from 'node:child_process'
import { createHash, randomUUID } from 'node:crypto'
import {
  accessSync,
  appendFileSync,
  chownSync,
  constants,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statfsSync,
} from 'node:fs'
import { availableParallelism } from 'node:os'
import path from 'node:path'

export interface BuildKernelOptions {
  readonly profile: KernelProfile
  /** Where kernels are kept; the build lies in its `tmp`. */
  readonly folder: string
  /** Who the build runs as, when the caller is root; null = the caller. */
  readonly builder: Builder | null
  readonly timeLimitMs: number
  readonly report: ReportProgress
  readonly signal?: AbortSignal
}

/** Programs and headers of a build, and the Debian packages they come in. */
const programs = {
  make: 'make',
  gcc: 'gcc',
  flex: 'flex',
  bison: 'bison',
  bc: 'bc',
  tar: 'tar',
  xz: 'xz-utils',
  strip: 'binutils',
} as const
const headers = { '/usr/include/gelf.h': 'libelf-dev', '/usr/include/openssl/opensslv.h': 'libssl-dev' } as const

/** Source and objects. Measured 1.6 GB. */
const buildBytes = 2.5 * 2 ** 30
/** Of the ci profile; prod has the same. */
const objectFiles = 1371

/** Builds the guests' kernel from Debian's source, or finds the one already built from the same source, configuration and compiler; either is then the one in use.
 *  Takes 4 to 7 minutes on two cores, at the lowest priority. Never runs as root when `builder` is given.
 *  Throws driver_failed (missing tools with the command that installs them; the compiler's own words), capacity (disk), timeout. */
export async function buildKernel(options: BuildKernelOptions): Promise<ShelvedKernel> {
  const { folder, profile, builder, report, signal, timeLimitMs } = options
  requireTools()
  prepareDrafts(path.join(folder, 'tmp'))
  const draft = path.join(folder, 'tmp', `kernel-${randomUUID()}`)
  mkdirSync(draft, { recursive: true })
  try {
    report('kernel source', 0)
    const source = kernelSource(draft)
    const fragment = kernelConfig(profile)
    const key = keyOf(source, fragment)
    const known = shelvedKernels(folder).find((kernel) => kernel.key === key)
    if (known === undefined) requireSpace(draft)
    const kernel = known ?? (await build())
    useKernel(folder, kernel)
    return kernel

    async function build(): Promise<ShelvedKernel> {
      if (builder !== null) chownSync(draft, builder.uid, builder.gid)
      const steps = new BuildSteps({ builder, timeLimitMs, ...(signal !== undefined && { signal }) })
      const vmlinux = await compile(steps, { draft, source, fragment, report })
      return shelveKernel(folder, { kind: 'own', profile, vmlinux, initramfs: null, origin: source.origin, key })
    }
  } finally {
    rmSync(draft, { recursive: true, force: true })
  }
}

async function compile(
  steps: BuildSteps,
  of: { draft: string; source: KernelSource; fragment: string; report: ReportProgress },
): Promise<Buffer> {
  const { draft, source, fragment, report } = of
  report(`unpacking ${source.origin}`, 0)
  await steps.run('tar', ['-xJf', source.archive, '--no-same-owner'], draft)
  const name = readdirSync(draft).find((each) => /^linux-source-[\d.]+$/.test(each))
  if (name === undefined)
    throw new AppError('driver_failed', `Cannot build a kernel: "${source.archive}" holds no source folder.`)
  const tree = path.join(draft, name)
  report('configuring', 0.04)
  await steps.run('make', ['-s', 'tinyconfig'], tree)
  appendFileSync(path.join(tree, '.config'), fragment)
  await steps.run('make', ['-s', 'olddefconfig'], tree)
  checkKernelConfig(fragment, tree)
  let objects = 0
  await steps.run('make', [`-j${availableParallelism()}`, 'vmlinux'], tree, (line) => {
    if (!/^ +(CC|AS) +\S+\.o$/.test(line)) return
    objects += 1
    report(`compiling (${objects} of about ${objectFiles} files)`, 0.05 + 0.93 * Math.min(1, objects / objectFiles))
  })
  report('vmlinux', 0.99)
  await steps.run('strip', ['-s', '-o', 'vmlinux.stripped', 'vmlinux'], tree)
  return readFileSync(path.join(tree, 'vmlinux.stripped'))
}

function keyOf(source: KernelSource, fragment: string): string {
  const compiler = execFileSync('gcc', ['--version'], { encoding: 'utf8' }).split('\n')[0] ?? ''
  return createHash('sha256').update([source.origin, compiler, fragment].join('\0')).digest('hex')
}

function requireTools(): void {
  if (process.arch !== 'x64')
    throw new AppError('driver_failed', `Cannot build a kernel on ${process.arch}: only x86-64 is supported so far.`)
  const missing = [
    ...Object.entries(programs).filter(
      ([program]) => !programFolders.some((folder) => isExecutable(path.join(folder, program))),
    ),
    ...Object.entries(headers).filter(([header]) => !existsSync(header)),
  ].map(([, name]) => name)
  if (missing.length === 0) return
  throw new AppError(
    'driver_failed',
    `Cannot build a kernel: missing ${missing.join(', ')}. On Debian, as root: apt-get install ${[...missing, 'linux-source'].join(' ')}`,
  )
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK)
    return true
  } catch {
    return false
  }
}

function requireSpace(folder: string): void {
  const { bavail, bsize } = statfsSync(folder)
  if (bavail * bsize >= buildBytes) return
  const gib = (bytes: number): string => (bytes / 2 ** 30).toFixed(1)
  throw new AppError(
    'capacity',
    `Cannot build a kernel in "${folder}": it needs ${gib(buildBytes)} GiB, ${gib(bavail * bsize)} GiB are free.`,
  )
}
