import { createReadStream } from 'node:fs'
import { readFile, stat } from 'node:fs/promises'
import path from 'node:path'
import { CliError } from './cli-error.ts'

/** A file of a layout. */
interface Member {
  readonly name: string
  readonly file: string
  readonly bytes: number
}

const blockBytes = 512
const documentBytesMax = 4 * 1024 * 1024
const indexTypes: readonly string[] = [
  'application/vnd.oci.image.index.v1+json',
  'application/vnd.docker.distribution.manifest.list.v2+json',
]
const manifestTypes: readonly string[] = [
  'application/vnd.oci.image.manifest.v1+json',
  'application/vnd.docker.distribution.manifest.v2+json',
]
const depthMax = 8

/** What of the OCI layout in `folder` its index leads to, in one fixed order. Throws CliError for what is no layout, and for blobs that are missing. */
export async function listLayout(folder: string): Promise<readonly Member[]> {
  const members = new Map<string, Member>()
  const add = async (name: string): Promise<Member> => {
    const file = path.join(folder, ...name.split('/'))
    const facts = await stat(file).catch(() => null)
    if (facts?.isFile() !== true)
      throw new CliError(`Cannot use --image "${folder}": it has no file ${name}.`, {
        hint: 'It must be an OCI layout whole: oci-layout, index.json and blobs/sha256.',
      })
    const member = { name, file, bytes: facts.size }
    members.set(name, member)
    return member
  }
  const walk = async (member: Member, depth: number): Promise<void> => {
    for (const { digest, mediaType } of descriptorsOf(await readDocument(folder, member))) {
      const name = `blobs/sha256/${digest}`
      if (members.has(name)) continue
      const blob = await add(name)
      if (indexTypes.includes(mediaType) || manifestTypes.includes(mediaType)) {
        if (depth >= depthMax) throw new CliError(`Cannot use --image "${folder}": its indexes are nested too deep.`)
        await walk(blob, depth + 1)
      }
    }
  }
  await add('oci-layout')
  await walk(await add('index.json'), 0)
  return [...members.values()]
}

/** They as one tar; the same files give the same bytes. Fails when a file is not as long any more as it was. */
export async function* tarMembers(members: readonly Member[]): AsyncGenerator<Uint8Array> {
  for (const { name, file, bytes } of members) {
    yield headerOf(name, bytes)
    let sent = 0
    for await (const chunk of createReadStream(file, { highWaterMark: 256 * 1024 })) {
      const piece: Uint8Array = chunk
      sent += piece.length
      yield piece
    }
    if (sent !== bytes) throw new CliError(`Cannot use ${file}: it changed while it was read.`)
    if (bytes % blockBytes !== 0) yield Buffer.alloc(blockBytes - (bytes % blockBytes))
  }
  yield Buffer.alloc(2 * blockBytes)
}

/** ustar, with neither owner nor time. The platform writes its own: nothing but the SDK is shared with it. */
function headerOf(name: string, bytes: number): Buffer {
  const octal = (value: number, width: number): string => `${value.toString(8).padStart(width - 1, '0')}\0`
  const block = Buffer.alloc(blockBytes)
  block.write(name, 0, 100, 'latin1')
  block.write(`${octal(0o644, 8)}${octal(0, 8)}${octal(0, 8)}${octal(bytes, 12)}${octal(0, 12)}`, 100, 'latin1')
  block.write('        0', 148, 'latin1')
  block.write('ustar\x0000', 257, 'latin1')
  const sum = block.reduce((total, byte) => total + byte, 0)
  block.write(`${octal(sum, 7)} `, 148, 'latin1')
  return block
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
