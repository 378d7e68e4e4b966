import type { Digest } from '../../domain/artifact.ts'
import { parseDigest } from '../../domain/artifact.ts'
import type { Arch } from '../../domain/function.ts'
import { limits } from '../../domain/limits.ts'
import { listOf, objectOf, parseObject, textOf, textsOf, type Fields } from './json.ts'
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

/** What images call the processors. */
const architectures: Readonly<Record<Arch, string>> = { x86_64: 'amd64', arm64: 'arm64' }
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
  if ((architecture ?? architectures[arch]) === architectures[arch] && (os ?? 'linux') === 'linux') return
  const wanted = `linux/${architectures[arch]}`
  throw refuseImage(where, `it is for ${String(os)}/${String(architecture)}, not ${wanted}`, `Build it for ${wanted}.`)
}

async function savedParts(members: Members): Promise<ImageParts> {
  const [only, ...others] = listOf('manifest.json', JSON.parse(await members.text('manifest.json').then(checkList)))
  if (only === undefined || others.length > 0)
    throw refuseImage('manifest.json', `it lists ${others.length + (only === undefined ? 0 : 1)} images`, 'Save one.')
  const image = objectOf('manifest.json', only)
  const names = textsOf('manifest.json: Layers', image['Layers'])
  const layers = names.map((name) => ({ ...members.get(name), name }))
  return { manifest: null, config: await members.text(textOf('manifest.json: Config', image['Config'])), layers }
}

/** The text, once it is known to be JSON. */
function checkList(text: string): string {
  try {
    JSON.parse(text)
    return text
  } catch {
    throw refuseImage('manifest.json', 'it is no JSON', buildAgain)
  }
}

async function layoutParts(members: Members, arch: Arch): Promise<ImageParts> {
  const index = parseObject('index.json', await members.text('index.json'))
  const found = await manifestsOf(members, { index, where: 'index.json', arch, above: new Set(), seen: new Set() })
  const [one, ...others] = [...new Map(found.map((each) => [each.digest, each])).values()]
  if (one === undefined)
    throw refuseImage('index.json', `it has no image for linux/${architectures[arch]}`, 'Build it for this platform.')
  if (others.length > 0) {
    const names = [one, ...others].map(({ digest }) => digest).join(', ')
    throw refuseImage('index.json', `it has ${others.length + 1} images: ${names}`, 'Keep one in the layout.')
  }
  const { document, digest } = one
  const config = await blobOf(members, objectOf(`${digest}: config`, document['config']), `${digest}: config`)
  const layers: Layer[] = []
  for (const layer of listOf(`${digest}: layers`, document['layers'])) {
    const fields = objectOf(`${digest}: layers`, layer)
    if (layers.length >= limits.image.layersMax)
      throw refuseImage(digest, `it has more than ${limits.image.layersMax} layers`, 'Merge some of them.')
    layers.push(await blobOf(members, fields, `${digest}: layers`))
  }
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
  /** Indexes that lead here. */
  readonly above: ReadonlySet<string>
  /** All that was looked at, here and elsewhere. */
  readonly seen: Set<string>
}

/** The manifests that an index leads to, through indexes that it names, for `arch` or for no platform in particular. */
async function manifestsOf(
  members: Members,
  { index, where, arch, above, seen }: IndexPlace,
): Promise<readonly Manifest[]> {
  const found: Manifest[] = []
  for (const item of listOf(`${where}: manifests`, index['manifests'])) {
    const descriptor = objectOf(`${where}: manifests`, item)
    const digest = digestOf(descriptor, where)
    if (above.has(digest) || above.size >= depthMax)
      throw refuseImage(digest, `it refers to itself, through ${where}`, buildAgain)
    if (!isFor(descriptor, arch) || seen.has(digest)) continue
    if (seen.size >= manifestsMax)
      throw refuseImage(where, `it leads to more than ${manifestsMax} manifests`, buildAgain)
    seen.add(digest)
    const { name } = await blobOf(members, descriptor, where)
    const document = parseObject(digest, await members.text(name))
    if (document['manifests'] === undefined) found.push({ digest, document })
    else {
      const below = { index: document, where: digest, arch, above: new Set([...above, digest]), seen }
      found.push(...(await manifestsOf(members, below)))
    }
  }
  return found
}

function isFor({ platform }: Fields, arch: Arch): boolean {
  if (platform === undefined || platform === null) return true
  const { os, architecture } = objectOf('platform', platform)
  return os === 'linux' && architecture === architectures[arch]
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
