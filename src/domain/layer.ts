import type { Digest } from './artifact.ts'
import type { CodeOrigin } from './code-source.ts'
import { invalid } from './error.ts'
import { limits } from './limits.ts'

/** Files that several functions share: unpacked below /opt of their Instances. Immutable, numbered from 1 in its layer. */
export interface LayerVersion {
  readonly project: string
  readonly name: string
  readonly number: number
  readonly description: string
  /** Runtime ids or families it is made for; empty = any. */
  readonly runtimes: readonly string[]
  readonly digest: Digest
  readonly bytes: number
  readonly unpackedBytes: number
  readonly origin: CodeOrigin | null
  readonly createdAt: number
}

/** A layer of a Version: what it was when that was made, whatever becomes of the layer. */
export interface PinnedLayer {
  readonly name: string
  readonly number: number
  readonly digest: Digest
}

export type LayerRef = Pick<LayerVersion, 'name' | 'number'>

/** `name:number`. */
export function layerText({ name, number }: LayerRef): string {
  return `${name}:${number}`
}

/** Throws invalid. */
export function parseLayerRef(text: string, field = 'layers'): LayerRef {
  const [, name, number] = /^([A-Za-z0-9_-]{1,64}):([1-9]\d{0,8})$/.exec(text) ?? []
  if (name === undefined) throw invalid(field, text, 'NAME:NUMBER, a version of a layer, e.g. tools:1')
  return { name, number: Number(number) }
}

/** The layers of a configuration, later ones over earlier ones. Throws invalid. */
export function checkLayers(value: unknown): readonly string[] {
  const { layersMax } = limits
  if (!Array.isArray(value) || value.length > layersMax) throw invalid('layers', value, `at most ${layersMax} layers`)
  const names = value.map((text) => parseLayerRef(String(text)).name)
  const twice = names.find((name, at) => names.indexOf(name) !== at)
  if (twice !== undefined) throw invalid('layers', twice, 'one version of each layer')
  return value.map(String)
}
