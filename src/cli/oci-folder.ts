import { createReadStream } from 'node:fs'
import { readFile, stat } from 'node:fs/promises'
import path from 'node:path'
import { pipeline } from 'node:stream/promises'
import { pack } from 'tar-stream'
import { CliError } from './cli-error.ts'

/** A file of a layout. */
interface Member {
  readonly name: string
  readonly file: string
  readonly bytes: number
}

const documentBytesMax = 4 * 1024 * 1024
/* Twins: `indexTypes` and `imageTypes` of src/origin/image-manifest.ts. */
const indexTypes: readonly string[] = [
  'application/vnd.oci.image.index.v1+json',
  'application/vnd.docker.distribution.manifest.list.v2+json',
]
const manifestTypes: readonly string[] = [
  'application/vnd.oci.image.manifest.v1+json',
  'application/vnd.docker.distribution.manifest.v2+json',
]
const depthMax = 8

/** What of the OCI layout in `folder` its index leads to, in one fixed order. An index may name images for other platforms that are not there, as those
 *  that fetch one of many leave it: which is wanted the server knows. Throws CliError for what is no layout, and where no image is whole. */
export async function listLayout(folder: string): Promise<readonly Member[]> {
  const members = new Map<string, Member>()
  /** By name: whether it is there, and all that it leads to. */
  const known = new Map<string, boolean>()
  const missing: string[] = []
  let wholeImages = 0
  const add = async (name: string): Promise<Member | null> => {
    const file = path.join(folder, ...name.split('/'))
    const facts = await stat(file).catch(() => null)
    if (facts?.isFile() !== true) {
      missing.push(name)
      return null
    }
    const member = { name, file, bytes: facts.size }
    members.set(name, member)
    return member
  }
  const isWhole = async (member: Member, depth: number): Promise<boolean> => {
    let whole = true
    for (const { digest, mediaType } of descriptorsOf(await readDocument(folder, member))) {
      const name = `blobs/sha256/${digest}`
      const isManifest = manifestTypes.includes(mediaType)
      if (!known.has(name)) {
        const blob = await add(name)
        const isDocument = isManifest || indexTypes.includes(mediaType)
        if (isDocument && depth >= depthMax)
          throw new CliError(`Cannot use --image "${folder}": its indexes are nested too deep.`)
        known.set(name, blob !== null && (!isDocument || (await isWhole(blob, depth + 1))))
        if (isManifest && known.get(name) === true) wholeImages++
      }
      whole &&= known.get(name) === true
    }
    return whole
  }
  const [layout, index] = [await add('oci-layout'), await add('index.json')]
  if (layout !== null && index !== null) await isWhole(index, 0)
  if (missing[0] !== undefined && wholeImages === 0)
    throw new CliError(`Cannot use --image "${folder}": it has no file ${missing[0]}.`, {
      hint: 'It must be an OCI layout whole: oci-layout, index.json and blobs/sha256.',
    })
  return [...members.values()]
}

/** They as one tar; the same files give the same bytes. Fails when a file is not as long any more as it was. */
export async function* tarMembers(members: readonly Member[]): AsyncGenerator<Uint8Array> {
  const tar = pack()
  const filled = fill(tar, members).catch((error: unknown) => tar.destroy(toError(error)))
  yield* tar
  await filled
}

async function fill(tar: ReturnType<typeof pack>, members: readonly Member[]): Promise<void> {
  for (const { name, file, bytes } of members) {
    const entry = tar.entry({ name, size: bytes, mode: 0o644, mtime: new Date(0) })
    await pipeline(createReadStream(file, { highWaterMark: 256 * 1024 }), entry).catch((cause: unknown) => {
      throw new CliError(`Cannot read ${file}, or it changed while it was read: ${toError(cause).message}.`, { cause })
    })
  }
  tar.finalize()
}

function toError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error))
}

async function readDocument(folder: string, { name, file, bytes }: Member): Promise<unknown> {
  try {
    if (bytes <= documentBytesMax) return JSON.parse(await readFile(file, 'utf8'))
  } catch (cause) {
    if (!(cause instanceof SyntaxError)) throw cause
  }
  throw new CliError(`Cannot use --image "${folder}": ${name} is no JSON of at most 4 MiB.`)
}

/** Every blob that an index or a manifest names. */
function descriptorsOf(document: unknown): { digest: string; mediaType: string }[] {
  if (typeof document !== 'object' || document === null) return []
  const { manifests, config, layers }: { manifests?: unknown; config?: unknown; layers?: unknown } = document
  const all: readonly unknown[] = [manifests, [config], layers].flatMap((list: unknown) =>
    Array.isArray(list) ? list : [],
  )
  return all.flatMap((item) => {
    if (typeof item !== 'object' || item === null) return []
    const { digest, mediaType }: { digest?: unknown; mediaType?: unknown } = item
    const [, hex] = /^sha256:([0-9a-f]{64})$/.exec(typeof digest === 'string' ? digest : '') ?? []
    return hex === undefined ? [] : [{ digest: hex, mediaType: typeof mediaType === 'string' ? mediaType : '' }]
  })
}
