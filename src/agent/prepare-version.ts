import type { ArtifactStore } from '../domain/artifact.ts'
import type { Clock } from '../domain/clock.ts'
import type { Version } from '../domain/function.ts'
import type { Logger } from '../domain/logger.ts'
import type { PlaceNames } from './binding.ts'
import type { CodeCache } from './code-cache.ts'
import { unpackTrees, type Trees } from './code-trees.ts'
import { makeBytecode } from './compile.ts'
import type { Sources } from './sources.ts'

export interface PrepareParts {
  readonly artifacts: ArtifactStore
  readonly code: CodeCache
  readonly sources: Sources
  readonly clock: Clock
  readonly logger: Logger
  readonly names: PlaceNames
  /** Of the Version, where a driver takes its code as an image. */
  readonly imageOf: (trees: Trees) => Promise<string | null>
  /** Its code is on this node. */
  readonly onUnpacked: () => void
}

/** Makes `version` invocable on this node: code unpacked, bytecode, code image and snapshots made. Throws what `Agent.deploy` throws. */
export async function prepareVersion(
  version: Version,
  { report = () => {} }: { report?: (line: string) => void },
  { artifacts, code: cache, sources, clock, logger, names, imageOf, onUnpacked }: PrepareParts,
): Promise<void> {
  if (version.config.isolation === 'vm') await sources.drivers.probeAll()
  const place = sources.placeOf(version)
  const { bytes, entries, ...trees } = await unpackTrees(artifacts, version)
  report(`Unpacked ${entries} entries, ${bytes} bytes.`)
  const cacheFolder = await makeBytecode({
    ...{ version, trees, artifacts, clock, logger, names, report, build: place.build },
    image: () => imageOf(trees),
    boot: () => sources.bring(place),
  })
  const code = { ...trees, cacheFolder, image: await imageOf({ ...trees, cacheFolder }) }
  cache.set(version, code)
  onUnpacked()
  await sources.prepare(version, code, report)
  sources.poolOf(version)
  sources.pools.refillSoon()
}
