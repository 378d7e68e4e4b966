import type { ArtifactStore } from '../domain/artifact.ts'
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
}

/** Unpacks code and layers of `version`, each once. Throws invalid: one of them is no good, or all together are too large. */
export async function unpackTrees(
  artifacts: Pick<ArtifactStore, 'unpack'>,
  version: Pick<Version, 'codeDigest' | 'layers'>,
): Promise<Trees & { bytes: number; entries: number }> {
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
  return { folder: code.folder, cacheFolder: null, layerFolders: layers.map(({ folder }) => folder), bytes, entries }
}
