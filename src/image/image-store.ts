import type {
  CodeTrees,
  Image,
  ImageStore,
  KernelBuild,
  ReportProgress,
  RuntimeImage,
  StoredImage,
} from '../domain/image.ts'
import type { Logger } from '../domain/logger.ts'
import type { RuntimeBuild } from '../domain/runtime.ts'
import { CodeImages } from './code-images.ts'
import { prepareDrafts } from './drafts.ts'
import { HeldFiles } from './held-files.ts'
import { ImageThread } from './image-thread.ts'
import { knownKernel, resolveKernel, type KernelSources } from './kernel/resolve-kernel.ts'
import { currentKernel, removeKernel, shelvedKernels, type ShelvedKernel } from './kernel/kernel-shelf.ts'
import { openFiles } from './open-files.ts'
import {
  findImage,
  findOlderImage,
  imageKey,
  indexedImages,
  indexImage,
  removeImage,
  type ImageKey,
  type IndexedImage,
} from './runtime-index.ts'
import path from 'node:path'

export interface ImageStoreOptions {
  /** Kernels and runtime images are kept here. */
  readonly folder: string
  /** Searched after `folder`, never written: the cache of the machine, filled by `hearth image` and `hearth kernel`. */
  readonly shared: readonly string[]
  /** Code images are kept here: nobody else may read them. */
  readonly codeFolder: string
  /** The operator's kernel; null for one that was built, or Debian's. */
  readonly kernelFile: string | null
  readonly shimFolder: string
  readonly guestProgram: string
  readonly logger: Logger
}

/** Kernels and images in folders:
 *
 *    kernels/              see kernel-shelf.ts
 *    runtimes/<hex>.erofs  by the digest of their trees; <key>.json beside them says what they were made for
 *    tmp/, runtimes/tmp/   under way
 */
export function openImageStore(options: ImageStoreOptions): ImageStore {
  return new FolderImageStore(options)
}

class FolderImageStore implements ImageStore {
  readonly #options: ImageStoreOptions
  /** A runtime's image takes seconds, code must not wait for it. */
  readonly #thread = new ImageThread()
  readonly #code: CodeImages
  readonly #images = new Map<string, Promise<RuntimeImage>>()
  #kernel: Promise<KernelBuild> | null = null
  /** Kernel and root images that were asked for: who cleans the folder sees that they are in use. */
  readonly #held = new HeldFiles()

  constructor(options: ImageStoreOptions) {
    this.#options = options
    this.#code = new CodeImages(options.codeFolder)
    for (const folder of [options.folder, path.join(options.folder, 'runtimes')])
      prepareDrafts(path.join(folder, 'tmp'))
  }

  async kernel(report: ReportProgress = () => {}): Promise<KernelBuild> {
    const resolving = this.#resolvedKernel(report)
    const kernel = await resolving
    if (this.#held.hold(kernel.vmlinux)) return kernel
    if (this.#kernel === resolving) this.#kernel = null
    return this.#resolvedKernel(report)
  }

  #resolvedKernel(report: ReportProgress): Promise<KernelBuild> {
    const { folder, shared, kernelFile, guestProgram } = this.#options
    const sources: KernelSources = { folder, shared, kernelFile, guestProgram, thread: this.#thread }
    this.#kernel ??= resolveKernel(sources, report).catch((error: unknown) => {
      this.#kernel = null
      throw error
    })
    return this.#kernel
  }

  async runtimeImage(
    build: RuntimeBuild,
    report: ReportProgress = () => {},
    wants: { isWhole: boolean } = { isWhole: false },
  ): Promise<RuntimeImage> {
    const making = this.#images.get(build.image) ?? this.#keptImage(build, report, wants)
    let image = await making
    if (!this.#held.hold(image.path)) {
      if (this.#images.get(build.image) === making) this.#images.delete(build.image)
      image = await (this.#images.get(build.image) ?? this.#keptImage(build, report, wants))
    }
    // One image serves an interpreter's shim and its bridged form: which of them starts is the build's to say.
    return { ...image, runtime: { ...image.runtime, isBridged: build.isBridged } }
  }

  #keptImage(build: RuntimeBuild, report: ReportProgress, wants: { isWhole: boolean }): Promise<RuntimeImage> {
    const isOwn = build.digest === build.image
    const made = { ...build, digest: build.image, isBridged: isOwn && build.isBridged }
    const making = this.#runtimeImage(made, report, wants).catch((error: unknown) => {
      this.#images.delete(build.image)
      throw error
    })
    this.#images.set(build.image, making)
    return making
  }

  codeImage(code: CodeTrees, owner: string): Promise<Image> {
    return this.#code.get(code, owner)
  }

  async codeOwners(): Promise<readonly string[]> {
    return this.#code.owners()
  }

  async forgetCode(owner: string): Promise<void> {
    this.#code.forget(owner)
  }

  placeholder(): Promise<Image> {
    return this.#code.placeholder()
  }

  async list({ keep }: Parameters<ImageStore['list']>[0]): Promise<readonly StoredImage[]> {
    const { folder, shared } = this.#options
    const machine = await Promise.all([folder, ...shared].map((each) => this.#ofMachine(each, keep)))
    return [...machine.flat(), ...this.#code.list()]
  }

  async prune({ keep }: Parameters<ImageStore['prune']>[0]): Promise<readonly StoredImage[]> {
    const code = this.#code.prune()
    if (keep === null) return code
    const { folder } = this.#options
    const lost = (await this.#ofMachine(folder, keep)).filter(({ isCurrent }) => !isCurrent)
    for (const { kind, digest } of lost)
      if (kind === 'kernel') removeKernel(folder, { digest })
      else removeImage(path.join(folder, 'runtimes'), digest)
    return [...lost, ...code]
  }

  /** Kernels and root images in `folder`. */
  async #ofMachine(folder: string, keep: readonly RuntimeBuild[]): Promise<StoredImage[]> {
    const kernel = (await this.#kernel) ?? knownKernel(this.#options)
    const all = [...kernelsOf(folder, kernel), ...runtimesOf(path.join(folder, 'runtimes'), keep)]
    const open = openFiles(all.flatMap((image) => (image.isCurrent ? [] : [image.path])))
    return all.map((image) => ({ ...image, isCurrent: image.isCurrent || open.has(image.path) }))
  }

  async close(): Promise<void> {
    this.#held.close()
    await Promise.all([this.#thread.close(), this.#code.close()])
  }

  async #runtimeImage(
    build: RuntimeBuild,
    report: ReportProgress,
    { isWhole }: { isWhole: boolean },
  ): Promise<RuntimeImage> {
    const { folder, shared, shimFolder, guestProgram, logger } = this.#options
    const folders = [folder, ...shared].map((each) => path.join(each, 'runtimes'))
    const key = await imageKey(build, { guestProgram, shimFolder })
    const found = findImage(folders, key)
    if (found !== null && (found.skipped.length === 0 || !isWhole)) return toImage(found, key)
    const startedMs = performance.now()
    const target = path.join(folder, 'runtimes')
    try {
      const made = await this.#thread.run('runtime', { build, shimFolder, guestProgram, folder: target }, report)
      const { digest, bytes, runtime, skipped } = made
      indexImage(target, key, { digest, bytes, runtime, builtAt: Date.now(), skipped })
      const buildMs = Math.round(performance.now() - startedMs)
      logger.info('image.runtime.done', { runtime: build.id, version: build.version, digest, bytes, buildMs, skipped })
      return { digest, path: made.path, bytes, runtime, guest: key.guest, skipped }
    } catch (error) {
      const older = findOlderImage(folders, key)
      if (older === null) throw error
      const why = error instanceof Error ? error.message : String(error)
      logger.warn('image.runtime.old', { runtime: build.id, version: build.version, digest: older.digest, why })
      return toImage(older, key)
    }
  }
}

/** One found by recipe holds the same guest program. */
function toImage(
  { digest, path: file, bytes, runtime, skipped }: IndexedImage & { path: string },
  { guest }: ImageKey,
): RuntimeImage {
  return { digest, path: file, bytes, runtime, guest, skipped }
}

function kernelsOf(folder: string, inUse: KernelBuild | null): StoredImage[] {
  const current = [currentKernel(folder)?.digest, inUse?.digest]
  return shelvedKernels(folder).map((kernel: ShelvedKernel) => {
    const name = `${kernel.release} (${[kernel.kind, kernel.profile ?? []].flat().join(', ')})`
    const { digest, vmlinux, bytes, builtAt } = kernel
    return { kind: 'kernel', name, digest, path: vmlinux, bytes, builtAt, isCurrent: current.includes(digest) }
  })
}

/** Current is the newest of each build of `keep`. */
function runtimesOf(folder: string, keep: readonly RuntimeBuild[]): StoredImage[] {
  const images = indexedImages(folder)
  const kept = new Set<string>(keep.map(({ digest }) => digest))
  const current = new Set(
    images.flatMap((image, at) => {
      const isNewest = images.findIndex(({ build }) => build === image.build) === at
      return kept.has(image.build) && isNewest ? [image.digest] : []
    }),
  )
  const byDigest = new Map(images.map((image) => [image.digest, image]))
  return [...byDigest.values()].map(({ digest, path: file, bytes, builtAt, runtime }) => {
    const name = `${runtime.id} ${runtime.version}`
    return { kind: 'runtime', name, digest, path: file, bytes, builtAt, isCurrent: current.has(digest) }
  })
}
