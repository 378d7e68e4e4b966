import { parseDigest } from '../domain/artifact.ts'
import { imageArchitectures } from '../domain/container-image.ts'
import type { Arch } from '../domain/function.ts'
import { limits } from '../domain/limits.ts'
import type { RegistryAddress } from './registry-auth.ts'
import type { Descriptor, RawManifest } from './registry-client.ts'
import { isObject, jsonObject } from './small-body.ts'
import { refuse } from './trouble.ts'

/* What registries say of images, made sure of. Sources: OCI image specification 1.1; Docker's image manifest version 2, schema 2. */

/** One of an index. */
export interface IndexEntry extends Descriptor {
  /** `linux/amd64`, with the variant where there is one; null = not said. */
  readonly platform: string | null
}

export type Manifest =
  | { readonly kind: 'index'; readonly entries: readonly IndexEntry[] }
  | {
      readonly kind: 'image'
      readonly mediaType: string
      readonly config: Descriptor
      readonly layers: readonly Descriptor[]
    }

/* Twins: `indexTypes` and `manifestTypes` of src/cli/oci-folder.ts. */
export const indexTypes: readonly string[] = [
  'application/vnd.oci.image.index.v1+json',
  'application/vnd.docker.distribution.manifest.list.v2+json',
]
export const imageTypes: readonly string[] = [
  'application/vnd.oci.image.manifest.v1+json',
  'application/vnd.docker.distribution.manifest.v2+json',
]
const configTypes: readonly string[] = [
  'application/vnd.oci.image.config.v1+json',
  'application/vnd.docker.container.image.v1+json',
]
const layerPattern =
  /^application\/vnd\.(oci\.image\.layer\.v1\.tar|docker\.image\.rootfs\.diff\.tar)([.+](gzip|zstd))?$/
const entriesMax = 1_000

/** Throws invalid for what is no image: of another kind, too many layers, descriptors that say nothing sure. */
export function parseManifest(address: RegistryAddress, { content, contentType }: RawManifest): Manifest {
  const body = jsonObject(content)
  const isIndex = Array.isArray(body?.['manifests'])
  const isImage = Array.isArray(body?.['layers']) && isObject(body['config'])
  const own = textOf(body?.['mediaType'])
  const mediaType = own ?? contentType ?? ''
  // What could be read both ways would be one thing to who checked it and another to who runs it.
  const isClear = isIndex !== isImage && (own === null || !isKnown(contentType) || own === contentType)
  const fits = isIndex ? !imageTypes.includes(mediaType) : !indexTypes.includes(mediaType)
  if (body === null || !isClear || !fits || /\.v1\+prettyjws$/.test(mediaType))
    throw refuse(
      address,
      `its manifest is neither an image's nor an index (${JSON.stringify(mediaType.slice(0, 100))})`,
      'Push it in the form of OCI, or of Docker since 2017.',
    )
  if (isIndex) return { kind: 'index', entries: entriesOf(address, body['manifests']) }
  return imageOf(address, { body, mediaType: imageTypes.includes(mediaType) ? mediaType : (imageTypes[0] ?? '') })
}

/** Entries that may hold an image for `arch`, the likeliest first: what says so, then what does not say. */
export function candidates(entries: readonly IndexEntry[], arch: Arch): readonly IndexEntry[] {
  const fitting = entries.filter(({ platform }) => platform !== null && platformsOf(arch).includes(platform))
  return [...fitting, ...entries.filter(({ platform }) => platform === null)]
}

/** Names of a platform as images have them: what every machine of the architecture runs. */
export function platformsOf(arch: Arch): readonly [string, ...string[]] {
  const plain = `linux/${imageArchitectures[arch]}`
  return [plain, `${plain}/${arch === 'arm64' ? 'v8' : 'v1'}`]
}

/** Throws invalid for the configuration of an image for other machines. */
export function checkConfig(address: RegistryAddress, content: Buffer): void {
  const config = jsonObject(content)
  if (config === null) throw refuse(address, 'its configuration is not a JSON object', 'Push the image again.')
  const platform = platformOf(config)
  // A few builders leave it out: then the program in it is the only one who knows.
  if (platform !== null && !platformsOf(address.arch).includes(platform.split('/').slice(0, 2).join('/')))
    throw wrongPlatform(address, [platform])
}

export function wrongPlatform(address: RegistryAddress, platforms: readonly string[]): Error {
  const [wanted] = platformsOf(address.arch)
  const has = platforms.length === 0 ? 'nothing that could be run' : [...new Set(platforms)].slice(0, 20).join(', ')
  return refuse(address, `it is not for ${wanted}, but has ${has}`, `Build and push it for ${wanted} too.`)
}

function entriesOf(address: RegistryAddress, list: unknown): IndexEntry[] {
  if (!Array.isArray(list) || list.length > entriesMax)
    throw refuse(address, `its index has more than ${entriesMax} entries`, 'Push a smaller one.')
  return list.flatMap((item: unknown) => {
    if (!isObject(item)) throw malformed(address, 'an entry of its index')
    const platform = isObject(item['platform']) ? platformOf(item['platform']) : null
    const mediaType = textOf(item['mediaType']) ?? ''
    // Attestations and signatures lie beside images; they are for nobody's platform.
    if (platform === 'unknown/unknown' || !(indexTypes.includes(mediaType) || imageTypes.includes(mediaType))) return []
    return [{ ...descriptorOf(address, item, 'an entry of its index'), platform }]
  })
}

function imageOf(
  address: RegistryAddress,
  { body, mediaType }: { body: Readonly<Record<string, unknown>>; mediaType: string },
): Manifest {
  const { layersMax } = limits.image
  const config = descriptorOf(address, body['config'], 'the configuration')
  if (!configTypes.includes(config.mediaType))
    throw refuse(
      address,
      `it is no image: its configuration is of type ${JSON.stringify(config.mediaType.slice(0, 100))}`,
      'Name an image that can be run.',
    )
  const list: readonly unknown[] = Array.isArray(body['layers']) ? body['layers'] : []
  if (list.length > layersMax)
    throw refuse(address, `it has ${list.length} layers`, `At most ${layersMax} are taken: build it with fewer steps.`)
  const layers = list.map((item, at) => {
    const layer = descriptorOf(address, item, `layer ${at + 1}`)
    if (!layerPattern.test(layer.mediaType))
      throw refuse(
        address,
        `layer ${at + 1} is of type ${JSON.stringify(layer.mediaType.slice(0, 100))}`,
        'Layers are tars that lie in the registry: plain, gzip or zstd.',
      )
    return layer
  })
  return { kind: 'image', mediaType, config, layers }
}

function descriptorOf(address: RegistryAddress, item: unknown, what: string): Descriptor {
  const { mediaType, digest, size } = isObject(item) ? item : {}
  const parsed = typeof digest === 'string' ? parseDigest(digest) : undefined
  const isSize = typeof size === 'number' && Number.isSafeInteger(size) && size >= 0
  if (typeof mediaType !== 'string' || parsed === undefined || !isSize) throw malformed(address, what)
  return { mediaType, digest: parsed, bytes: size }
}

function malformed(address: RegistryAddress, what: string): Error {
  return refuse(address, `${what} has no type, sha256 digest and size`, 'Push the image again.')
}

function platformOf({ os, architecture, variant }: Readonly<Record<string, unknown>>): string | null {
  if (typeof os !== 'string' || typeof architecture !== 'string' || os === '' || architecture === '') return null
  const parts = [os, architecture, ...(typeof variant === 'string' && variant !== '' ? [variant] : [])]
  return parts.join('/').slice(0, 100)
}

function textOf(value: unknown): string | null {
  return typeof value === 'string' && value !== '' ? value : null
}

function isKnown(contentType: string | null): boolean {
  return contentType !== null && (indexTypes.includes(contentType) || imageTypes.includes(contentType))
}
