import { AppError } from '../../domain/error.ts'
import type { ReportProgress } from '../../domain/image.ts'
import { dependenciesOf, fetchPackage, unpackPackage } from '../debian-packages.ts'
import { vmlinuxOf } from './bzimage.ts'
import { makeCpio, type CpioEntry } from './cpio.ts'
import { modulesInOrder } from './kernel-modules.ts'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'

export interface DebianKernel {
  readonly vmlinux: Buffer
  readonly initramfs: Buffer
  /** Package and its version. */
  readonly origin: string
}

/** What Debian's cloud kernel has as modules of all that a VM needs. */
const moduleNames = [
  'virtio',
  'virtio_ring',
  'virtio_mmio',
  'virtio_blk',
  'virtio_net',
  'virtio_console',
  'vmw_vsock_virtio_transport',
  'virtio_rng',
  'virtio_balloon',
  'erofs',
]

const packages = { x64: 'linux-image-cloud-amd64', arm64: 'linux-image-cloud-arm64' } as const

/** Debian's cloud kernel, unpacked without being installed into `draft`: its vmlinux, and an initramfs with `guestProgram` as /init and the modules it loads first.
 *  `further` are modules beside those of a VM. Synchronous, 2 to 10 s: for worker threads. Throws driver_failed when the package cannot be had. */
export function debianKernel(
  guestProgram: string,
  { draft, report, further = [] }: { draft: string; report: ReportProgress; further?: readonly string[] },
): DebianKernel {
  report("fetching Debian's cloud kernel", 0)
  const file = fetchNewest(draft)
  report("unpacking Debian's cloud kernel", 0.4)
  const folder = path.join(draft, 'kernel')
  unpackPackage(file, folder)
  const release = readdirSync(path.join(folder, 'boot'))
    .find((name) => name.startsWith('vmlinuz-'))
    ?.slice('vmlinuz-'.length)
  if (release === undefined) throw unavailable(`"${path.basename(file)}" holds no kernel`)
  const image = path.join(folder, 'boot', `vmlinuz-${release}`)
  const vmlinux = vmlinuxOf(readFileSync(image), image)
  report('initramfs', 0.9)
  const modules = modulesInOrder(path.join(folder, modulesPath(folder), release), [...moduleNames, ...further])
  const initramfs = makeCpio([
    { type: 'file', path: 'init', isExecutable: true, content: readFileSync(guestProgram) },
    // Where it mounts, and what a program holds open that nobody gave a terminal.
    { type: 'folder', path: 'sysroot' },
    { type: 'device', path: 'dev/null', major: 1, minor: 3 },
    ...modules.map(({ name, content }, at): CpioEntry => {
      const path = `modules/${String(at + 1).padStart(2, '0')}-${name}.ko`
      return { type: 'file', path, isExecutable: false, content }
    }),
  ])
  return { vmlinux, initramfs, origin: path.basename(file, '.deb').replaceAll('%3a', ':') }
}

/** Debian 13 has moved them below /usr. */
function modulesPath(folder: string): string {
  return existsSync(path.join(folder, 'lib/modules')) ? 'lib/modules' : 'usr/lib/modules'
}

/** The named package only depends on the one of the newest release. */
function fetchNewest(draft: string): string {
  const meta = process.arch === 'arm64' ? packages.arm64 : packages.x64
  const name = dependenciesOf(meta).find((each) => each.startsWith('linux-image-'))
  const file = name === undefined ? null : fetchPackage(name, draft)
  if (file !== null) return file
  throw unavailable(`apt does not have the package ${name ?? meta}`)
}

function unavailable(why: string): AppError {
  return new AppError(
    'driver_failed',
    `No kernel for microVMs: none was built or given, and ${why}. Run "apt-get update" and try again, or "hearth kernel build", or "hearth kernel use FILE" with a vmlinux.`,
    { retryable: true },
  )
}
