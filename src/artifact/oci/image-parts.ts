import type { Digest } from '../../domain/artifact.ts'
import { parseDigest } from '../../domain/artifact.ts'
import { imageArchitectures } from '../../domain/container-image.ts'
import type { Arch } from '../../domain/function.ts'
import { limits } from '../../domain/limits.ts'
import { listOf, objectOf, parseJson, parseObject, textOf, textsOf, type Fields } from './json.ts'
import type { Member, Members } from './members.ts'
import { buildAgain, refuseImage } from './refusal.ts'
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'

export interface Layer extends Member {
  /** As errors name it. */
  readonly name: string
}

export interface ImageParts {
  readonly manifest: Digest | null
  /** JSON. */
  readonly config: string
  readonly layers: readonly Layer[]
}

/** Named by all indexes together: each is looked at. */
const manifestsMax = 256
const depthMax = 16

/** Finds the one image for `arch` in an archive: an OCI layout, else what `docker save` writes. Every blob of a layout is checked against its name.
 *  Throws invalid, naming the document that is not there, not right, or goes round in a circle. */
export async function imageParts(members: Members, arch: Arch): Promise<ImageParts> {
  if (members.has('index.json') && members.has('oci-layout')) return layoutParts(members, arch)
  if (members.has('manifest.json')) return savedParts(members)
  const fix = 'Give an OCI layout or a docker-archive as a tar, e.g. of "docker save" or "skopeo copy".'
  throw refuseImage('the archive', 'it has neither index.json and oci-layout nor manifest.json', fix)
}

/** Whether the image is one that this processor runs. */
export function refuseOther(where: string, fields: Fields, arch: Arch): void {
  const { architecture, os } = fields
  // A few builders leave them out: then the program in it is the only one who knows.
  if ((architecture ?? imageArchitectures[arch]) === imageArchitectures[arch] && (os ?? 'linux') === 'linux') return
  const wanted = `linux/${imageArchitectures[arch]}`
  throw refuseImage(where, `it is for ${String(os)}/${String(architecture)}, not ${wanted}`, `Build it for ${wanted}.`)
}

async function savedParts(members: Members): Promise<ImageParts> {
  const [only, ...others] = listOf('manifest.json', parseJson('manifest.json', await members.text('manifest.json')))
  if (only === undefined || others.length > 0)
    throw refuseImage('manifest.json', `it lists ${others.length + (only === undefined ? 0 : 1)} images`, 'Save one.')
  const image = objectOf('manifest.json', only)
  const names = fewLayers('manifest.json', textsOf('manifest.json: Layers', image['Layers']))
  const layers = names.map((name) => ({ ...members.get(name), name }))
  return { manifest: null, config: await members.text(textOf('manifest.json: Config', image['Config'])), layers }
}

function fewLayers<T>(where: string, layers: readonly T[]): readonly T[] {
  const { layersMax } = limits.image
  if (layers.length > layersMax) throw refuseImage(where, `it has more than ${layersMax} layers`, 'Merge some of them.')
  return layers
}

async function layoutParts(members: Members, arch: Arch): Promise<ImageParts> {
  const index = parseObject('index.json', await members.text('index.json'))
  const found = await manifestsOf(members, { index, where: 'index.json', arch, depth: 0, seen: new Set() })
  const [one, ...others] = found
  if (one === undefined)
    throw refuseImage(
      'index.json',
      `it has no image for linux/${imageArchitectures[arch]}`,
      'Build it for this platform.',
    )
  if (others.length > 0) {
    const names = [one, ...others].map(({ digest }) => digest).join(', ')
    throw refuseImage('index.json', `it has ${others.length + 1} images: ${names}`, 'Keep one in the layout.')
  }
  const { document, digest } = one
  const config = await blobOf(members, objectOf(`${digest}: config`, document['config']), `${digest}: config`)
  const layers: Layer[] = []
  const where = `${digest}: layers`
  for (const layer of fewLayers(where, listOf(where, document['layers'])))
    layers.push(await blobOf(members, objectOf(where, layer), where))
  return { manifest: digest, config: await members.text(config.name), layers }
}

interface Manifest {
  readonly digest: Digest
  readonly document: Fields
}

interface IndexPlace {
  readonly index: Fields
  readonly where: string
  readonly arch: Arch
  /** Indexes above it. */
  readonly depth: number
  /** All that was looked at, here and elsewhere. */
  readonly seen: Set<string>
}

/** The manifests that an index leads to, through indexes that it names, for `arch` or for no platform in particular. */
async function manifestsOf(
  members: Members,
  { index, where, arch, depth, seen }: IndexPlace,
): Promise<readonly Manifest[]> {
  const found: Manifest[] = []
  for (const item of listOf(`${where}: manifests`, index['manifests'])) {
    const descriptor = objectOf(`${where}: manifests`, item)
    const digest = digestOf(descriptor, where)
    if (!isFor(descriptor, arch) || seen.has(digest)) continue
    if (seen.size >= manifestsMax)
      throw refuseImage(where, `it leads to more than ${manifestsMax} manifests`, buildAgain)
    seen.add(digest)
    const { name } = await blobOf(members, descriptor, where)
    const document = parseObject(digest, await members.text(name))
    if (document['manifests'] === undefined) found.push({ digest, document })
    else {
      // None can hold its own digest: one that leads in a circle has lied about a blob.
      if (depth >= depthMax) throw refuseImage(digest, `indexes are nested more than ${depthMax} deep`, buildAgain)
      const below = { index: document, where: digest, arch, depth: depth + 1, seen }
      found.push(...(await manifestsOf(members, below)))
    }
  }
  return found
}

function isFor({ platform }: Fields, arch: Arch): boolean {
  if (platform === undefined || platform === null) return true
  const { os, architecture } = objectOf('platform', platform)
  return os === 'linux' && architecture === imageArchitectures[arch]
}

function digestOf(descriptor: Fields, where: string): Digest {
  const text = textOf(`${where}: digest`, descriptor['digest'])
  const digest = parseDigest(text)
  if (digest === undefined) throw refuseImage(where, `"${text}" is no sha256 digest`, buildAgain)
  return digest
}

async function blobOf(members: Members, descriptor: Fields, where: string): Promise<Layer> {
  const digest = digestOf(descriptor, where)
  const name = `blobs/sha256/${digest.slice('sha256:'.length)}`
  const member = members.get(name)
  const hash = createHash('sha256')
  for await (const piece of createReadStream(member.file, { highWaterMark: 1024 * 1024 })) hash.update(piece)
  const actual = hash.digest('hex')
  if (!digest.endsWith(actual)) throw refuseImage(name, `its bytes have digest sha256:${actual}`, buildAgain)
  return { ...member, name }
}
