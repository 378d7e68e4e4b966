import type { LayerVersion as LayerJson } from '@hearth/sdk'
import type { Control } from '../domain/control.ts'
import type { LayerRef, LayerVersion } from '../domain/layer.ts'
import { page, type Call, type HandlersOf } from './call.ts'
import { codeSourceOf, type CodeSourceBody } from './code-source.ts'

interface PublishBody {
  readonly code: CodeSourceBody
  readonly description?: string
  readonly runtimes?: readonly string[]
}

/** Layers' rows of the contract table bound to the control. */
export function layerHandlers({
  layers,
}: Control): HandlersOf<
  'listLayers' | 'publishLayer' | 'listLayerVersions' | 'getLayerVersion' | 'deleteLayerVersion'
> {
  const name = (call: Call): string => call.params['name'] ?? ''
  const ref = (call: Call): LayerRef => ({ name: name(call), number: Number(call.params['number']) })
  return {
    listLayers: async (call) => {
      const { items, nextCursor } = await layers.list(call.caller, page(call))
      return { items: items.map(layerJson), nextCursor }
    },
    publishLayer: async (call) => {
      const { code, description = '', runtimes = [] } = call.body as PublishBody
      return layerJson(
        await layers.publish(call.caller, name(call), { code: codeSourceOf(code), description, runtimes }),
      )
    },
    listLayerVersions: async (call) => ({ items: (await layers.versions(call.caller, name(call))).map(layerJson) }),
    getLayerVersion: async (call) => layerJson(await layers.get(call.caller, ref(call))),
    deleteLayerVersion: async (call) => layers.delete(call.caller, ref(call)),
  }
}

function layerJson({ project: _project, runtimes, ...rest }: LayerVersion): LayerJson {
  return { ...rest, runtimes: [...runtimes] }
}
