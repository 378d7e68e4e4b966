import path from 'node:path'
import type { Context } from '../cli/context.ts'
import { formatBytes, formatTime, table } from '../cli/output.ts'
import { silentLogger } from '../domain/logger.ts'
import type { ImageStore, StoredImage } from '../domain/image.ts'
import { openImageStore } from '../image/image-store.ts'
import { runtimeCatalog } from '../image/runtimes.ts'
import { guestProgram } from './app.ts'
import { cacheOf, machineStore } from './images.ts'
import { progressLine } from './progress-line.ts'
import { findRuntimes, shimFolder } from './runtimes.ts'

/** `hearth image list`. */
export async function listImages(context: Context): Promise<number> {
  const keep = await findRuntimes(context.env)
  return withStore(context, async (store) => {
    const images = await store.list({ keep })
    if (context.output.isJson) context.output.json({ folder: cacheOf(context), images })
    else if (images.length === 0) context.output.line(`No kernel and no image in ${cacheOf(context)} yet.`)
    else context.output.line(rows(images))
  })
}

/** `hearth image build`. */
export async function buildImage(context: Context, runtime: string): Promise<number> {
  const { output } = context
  const build = runtimeCatalog(await findRuntimes(context.env)).resolve(runtime)
  return withStore(context, async (store) => {
    const startedMs = performance.now()
    const report = progressLine(output, `image ${build.id}`)
    const image = await store.runtimeImage(build, report, { isWhole: true }).finally(() => output.status(''))
    const buildMs = Math.round(performance.now() - startedMs)
    if (output.isJson) return output.json({ ...image, buildMs })
    output.line(`${build.id} ${build.version}  ${formatBytes(image.bytes)}  ${image.digest}`)
    output.line(image.path)
    for (const what of image.skipped) output.line(`without ${what}`)
  })
}

/** `hearth image prune`. */
export async function pruneImages(context: Context): Promise<number> {
  const { output } = context
  const keep = await findRuntimes(context.env)
  return withStore(context, async (store) => {
    const removed = await store.prune({ keep })
    if (output.isJson) return output.json({ removed })
    const bytes = removed.reduce((sum, image) => sum + image.bytes, 0)
    output.line(removed.length === 0 ? 'Nothing to remove.' : `${rows(removed)}\n\nFreed ${formatBytes(bytes)}.`)
  })
}

/** The store of this machine's cache, as the commands about it use it. */
export async function withStore(
  context: Pick<Context, 'env' | 'cwd'>,
  work: (store: ImageStore) => Promise<void>,
): Promise<number> {
  const { folder, kernelFile } = machineStore(context)
  const store = openImageStore({
    folder,
    shared: [],
    codeFolder: path.join(folder, 'code'),
    kernelFile,
    shimFolder,
    guestProgram,
    logger: silentLogger,
  })
  await work(store).finally(() => store.close())
  return 0
}

function rows(images: readonly StoredImage[]): string {
  return table(
    ['KIND', 'NAME', 'DIGEST', 'SIZE', 'BUILT', 'IN USE'],
    images.map(({ kind, name, digest, bytes, builtAt, isCurrent }) => [
      kind,
      name,
      digest.slice(0, 'sha256:'.length + 12),
      formatBytes(bytes),
      formatTime(builtAt),
      isCurrent ? 'yes' : 'no',
    ]),
  )
}
