import type { ArtifactStore } from '../domain/artifact.ts'
import type { ContainerFacts } from '../domain/container-image.ts'
import { AppError } from '../domain/error.ts'
import type { Version } from '../domain/function.ts'
import { layerText } from '../domain/layer.ts'
import { limits } from '../domain/limits.ts'

/** What an Instance sees of a Version, as folders: /var/task, /var/cache/hearth and, merged, /opt. */
export interface Trees {
  readonly folder: string
  readonly cacheFolder: string | null
  /** Later ones over earlier ones. */
  readonly layerFolders: readonly string[]
  /** Of a container's image, whose tree `folder` is the whole root file system; else null. */
  readonly container: ContainerFacts | null
}

/** Unpacks code and layers of `version`, each once. Throws invalid: one of them is no good, all together are too large, or an image says nothing of what to start. */
export async function unpackTrees(
  artifacts: Pick<ArtifactStore, 'unpack' | 'unpackImage'>,
  version: Pick<Version, 'codeDigest' | 'layers' | 'runtimeId' | 'config'>,
): Promise<Trees & { bytes: number; entries: number }> {
  if (version.runtimeId === 'image') return unpackContainer(artifacts, version)
  const code = await artifacts.unpack(version.codeDigest)
  const layers = await Promise.all(version.layers.map(async ({ digest }) => artifacts.unpack(digest)))
  const bytes = layers.reduce((sum, layer) => sum + layer.bytes, code.bytes)
  const { unpackedBytesMax } = limits.archive
  if (bytes > unpackedBytesMax) {
    const parts = version.layers.map((layer, at) => `${layerText(layer)} has ${layers[at]?.bytes}`)
    throw new AppError(
      'invalid',
      `Code and layers unpack to ${bytes} bytes together, the limit is ${unpackedBytesMax}: the code has ${code.bytes}, ${parts.join(', ')}. Leave out what the function does not need.`,
      { field: 'layers', value: `${bytes} bytes`, allowed: `at most ${unpackedBytesMax} bytes with the code` },
    )
  }
  const entries = layers.reduce((sum, layer) => sum + layer.entries, code.entries)
  const layerFolders = layers.map(({ folder }) => folder)
  return { folder: code.folder, cacheFolder: null, layerFolders, container: null, bytes, entries }
}

async function unpackContainer(
  artifacts: Pick<ArtifactStore, 'unpackImage'>,
  { codeDigest, config }: Pick<Version, 'codeDigest' | 'config'>,
): Promise<Trees & { bytes: number; entries: number }> {
  const { folder, bytes, entries, facts } = await artifacts.unpackImage(codeDigest, config.arch)
  if (facts.command.length === 0 && config.command.length === 0)
    throw new AppError(
      'invalid',
      'Cannot take the image: it has neither ENTRYPOINT nor CMD. Say what to start (command), or build it with one of them.',
      { field: 'command', value: [], allowed: 'the program to start, with its arguments' },
    )
  return { folder, cacheFolder: null, layerFolders: [], container: facts, bytes, entries }
}
