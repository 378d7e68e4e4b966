import { invalid } from '../../domain/error.ts'
import type { KernelBuild, ReportProgress } from '../../domain/image.ts'
import type { ImageThread } from '../image-thread.ts'
import { currentKernel, shelvedKernels, shelveKernel, type ShelvedKernel } from './kernel-shelf.ts'
import { readVmlinux } from './vmlinux.ts'
import { createHash } from 'node:crypto'
import { constants } from 'node:fs'
import { open, readFile } from 'node:fs/promises'

export interface KernelSources {
  readonly folder: string
  readonly shared: readonly string[]
  readonly kernelFile: string | null
  readonly guestProgram: string
  readonly thread: ImageThread
}

/** The operator's file, else what was built or given last, else a kernel of our own, else Debian's: from the shelf when it is there with this very guest program.
 *  Throws invalid (the file is no kernel), driver_failed (Debian's cannot be had). */
export async function resolveKernel(sources: KernelSources, report: ReportProgress): Promise<KernelBuild> {
  const { folder, shared, kernelFile } = sources
  if (kernelFile !== null) return importKernel(kernelFile, folder)
  const folders = [folder, ...shared]
  const [current] = folders.flatMap((each) => currentKernel(each) ?? [])
  if (current?.kind === 'debian') return plain(await resolveDebianKernel(sources, report))
  const own = folders.flatMap(shelvedKernels).find(({ kind }) => kind === 'own')
  return plain(current ?? own ?? (await resolveDebianKernel(sources, report)))
}

/** What the next VM boots as far as it is on the shelf: nothing is read, made or fetched for it. Null where it must be. */
export function knownKernel({ folder, shared, kernelFile }: Omit<KernelSources, 'thread'>): KernelBuild | null {
  const folders = [folder, ...shared]
  const shelved = folders.flatMap(shelvedKernels)
  if (kernelFile !== null) return shelved.find(({ kind, origin }) => kind === 'file' && origin === kernelFile) ?? null
  const [current] = folders.flatMap((each) => currentKernel(each) ?? [])
  const newest = (wanted: KernelBuild['kind']): KernelBuild | undefined => shelved.find(({ kind }) => kind === wanted)
  return current ?? newest('own') ?? newest('debian') ?? null
}

/** Changes with what an initramfs holds beside the guest program. */
const initramfsForm = 'hearth initramfs 2'

/** Debian's kernel with an initramfs for this guest program, which an older one does not serve. */
export async function resolveDebianKernel(
  { folder, shared, guestProgram, thread }: Omit<KernelSources, 'kernelFile'>,
  report: ReportProgress,
): Promise<ShelvedKernel> {
  const key = createHash('sha256')
    .update(initramfsForm)
    .update(await readFile(guestProgram))
    .digest('hex')
  const shelved = [folder, ...shared].flatMap(shelvedKernels)
  const found = shelved.find((kernel) => kernel.kind === 'debian' && kernel.key === key)
  return found ?? thread.run('debianKernel', { folder, guestProgram, key }, report)
}

/** Stores the vmlinux `file` and returns it. Throws invalid, saying what is wrong with it. */
export async function importKernel(file: string, folder: string): Promise<ShelvedKernel> {
  const vmlinux = await readPlainFile(file).catch((cause: unknown) => {
    const why = cause instanceof Error ? cause.message : String(cause)
    throw invalid('kernel', file, 'a readable vmlinux', `Cannot read the kernel "${file}": ${why}.`)
  })
  if (!readVmlinux(vmlinux, file).isSelfContained) {
    const why = 'it has no virtio-mmio or no erofs built in; build it with CONFIG_VIRTIO_MMIO=y and CONFIG_EROFS_FS=y'
    throw invalid('kernel', file, 'a kernel without modules', `Cannot use "${file}" as a kernel: ${why}.`)
  }
  const key = createHash('sha256').update(vmlinux).digest('hex')
  return shelveKernel(folder, { kind: 'file', profile: null, vmlinux, initramfs: null, origin: file, key })
}

/** One with debug information has some hundreds of MiB. */
const vmlinuxBytesMax = 1024 ** 3

/** Not what never ends: a device, or a pipe that nobody writes to. */
async function readPlainFile(file: string): Promise<Buffer> {
  const opened = await open(file, constants.O_RDONLY | constants.O_NONBLOCK)
  try {
    const found = await opened.stat()
    if (!found.isFile()) throw new Error('it is no plain file')
    if (found.size > vmlinuxBytesMax) throw new Error(`it is larger than ${vmlinuxBytesMax} bytes`)
    return await opened.readFile()
  } finally {
    await opened.close()
  }
}

function plain({ digest, vmlinux, initramfs, kind, profile, needsAcpi, release }: KernelBuild): KernelBuild {
  return { digest, vmlinux, initramfs, kind, profile, needsAcpi, release }
}
