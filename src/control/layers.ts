import type { ArtifactStore } from '../domain/artifact.ts'
import type { Caller, Control } from '../domain/control.ts'
import { AppError, invalid } from '../domain/error.ts'
import type { FunctionConfig } from '../domain/function.ts'
import { layerText, parseLayerRef, type LayerVersion, type PinnedLayer } from '../domain/layer.ts'
import { namePattern } from '../domain/limits.ts'
import { runtimeFamilies, runtimeIdOf, runtimeIds, type RuntimeBuild } from '../domain/runtime.ts'
import type { Store } from '../domain/store.ts'
import type { Blobs } from './blobs.ts'
import type { CodeSources } from './code-sources.ts'
import { demand } from './scopes.ts'

interface LayerParts {
  readonly store: Store
  readonly artifacts: ArtifactStore
  readonly blobs: Blobs
  readonly sources: CodeSources
}

const descriptionCharsMax = 256

/** Publishing, looking at and deleting layers. */
export function layersApi({ store, artifacts, blobs, sources }: LayerParts): Control['layers'] {
  return {
    async publish(caller, name, { code, description, runtimes }) {
      demand(caller, 'functions:write')
      if (!namePattern.test(name)) throw invalid('name', name, '1 to 64 letters, digits, "-" or "_"')
      if (description.length > descriptionCharsMax || description.includes('\0'))
        throw invalid('description', description, `a text of at most ${descriptionCharsMax} characters`)
      const isFamily = (runtime: string): boolean => runtimeFamilies.some((family) => family === runtime)
      const unknown = runtimes.find((runtime) => runtimeIdOf(runtime) === null && !isFamily(runtime))
      if (unknown !== undefined)
        throw invalid('runtimes', unknown, `one of ${[...runtimeIds, ...runtimeFamilies].join(', ')}`)
      return sources.using(caller, { source: code, kind: 'code' }, async ({ digest, origin }) => {
        const stored = await artifacts.stat(digest)
        if (stored === null)
          throw invalid('code.artifact', digest, 'a digest uploaded before by PUT /v1/artifacts/{sha256}')
        // What is wrong with an archive is said now, not at the deploy of a function that uses it.
        const { bytes: unpackedBytes } = await artifacts.unpack(digest)
        const draft = { project: caller.project, name, description, runtimes: [...new Set(runtimes)], digest, origin }
        const audit = { actor: caller.actor, action: 'layer.publish', target: name, detail: { code: digest } }
        return store.layers.publish({ ...draft, bytes: stored.bytes, unpackedBytes }, audit)
      })
    },
    async list(caller, page) {
      demand(caller, 'functions:read')
      return store.layers.list(caller.project, page)
    },
    async versions(caller, name) {
      demand(caller, 'functions:read')
      const found = namePattern.test(name) ? await store.layers.versions(caller.project, name) : []
      if (found.length === 0) throw new AppError('not_found', `There is no layer "${name}".`)
      return found
    },
    async get(caller, ref) {
      demand(caller, 'functions:read')
      const found = await store.layers.get(caller.project, ref)
      if (found === null) throw new AppError('not_found', `There is no layer "${layerText(ref)}".`)
      return found
    },
    async delete(caller, ref) {
      demand(caller, 'functions:write')
      const audit = { actor: caller.actor, action: 'layer.delete', target: layerText(ref), detail: {} }
      await blobs.release([await store.layers.delete(caller.project, ref, audit)])
    },
  }
}

/** The layers of a Version to be: those that the one before has stay what they were, also when they were deleted since; others are looked up.
 *  Throws invalid, naming the layer that is not there or not for `runtime`. */
export async function pinLayers(
  store: Store,
  caller: Caller,
  { config, base, runtime }: { config: FunctionConfig; base: readonly PinnedLayer[]; runtime: RuntimeBuild },
): Promise<readonly PinnedLayer[]> {
  return Promise.all(
    config.layers.map(async (text) => {
      const ref = parseLayerRef(text)
      const layer = await store.layers.get(caller.project, ref)
      const kept = base.find((pinned) => layerText(pinned) === text)
      if (layer === null) {
        if (kept !== undefined) return kept
        throw invalid('layers', text, 'a version of a layer of this project; make one with "hearth layer publish"')
      }
      refuseOtherRuntime(layer, runtime)
      return { ...ref, digest: layer.digest }
    }),
  )
}

function refuseOtherRuntime(layer: LayerVersion, { id, family }: RuntimeBuild): void {
  if (layer.runtimes.length === 0 || layer.runtimes.includes(id) || layer.runtimes.includes(family)) return
  throw invalid('layers', layerText(layer), `a layer for ${id}; this one is for ${layer.runtimes.join(', ')}`)
}
