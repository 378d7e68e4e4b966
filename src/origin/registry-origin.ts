import type { Digest } from '../domain/artifact.ts'
import type { OriginContent } from '../domain/code-source.ts'
import { limits } from '../domain/limits.ts'
import { tarEnd, tarFileBytes, tarHeader, tarPadding } from '../domain/tar.ts'
import { createHash } from 'node:crypto'
import { Readable } from 'node:stream'
import { candidates, checkConfig, parseManifest, wrongPlatform, type Manifest } from './image-manifest.ts'
import type { RegistryAddress } from './registry-auth.ts'
import { RegistryClient, type Descriptor, type RawManifest, type RegistryOptions } from './registry-client.ts'
import { refuse } from './trouble.ts'

type Image = Extract<Manifest, { kind: 'image' }>
interface Found extends RawManifest {
  readonly image: Image
}

/** An index in an index in an index: more is nothing that anybody made on purpose. */
const depthMax = 4
/** Manifests that are looked at until the one for this machine is found. */
const manifestsMax = 32

/** An image of a registry as one tar in the form of an OCI layout: the same image gives the same bytes, wherever it comes from and whatever it was called.
 *  `etag` is the digest of the manifest for `address.arch`. What is found out before the layers come is found out here. Throws invalid, conflict, capacity. */
export async function openImage(options: RegistryOptions): Promise<OriginContent> {
  const { address } = options
  const client = new RegistryClient(options)
  const { image, digest, content: manifest } = await new Search(client, address).find()
  const { config, layers, mediaType } = image
  const configFile = await client.document(config)
  checkConfig(address, configFile)
  const files: readonly TarFile[] = [
    { name: 'oci-layout', content: Buffer.from('{"imageLayoutVersion":"1.0.0"}') },
    { name: 'index.json', content: indexOf({ mediaType, digest, bytes: manifest.length }) },
    { name: blobName(digest), content: manifest },
    { name: blobName(config.digest), content: configFile },
    ...distinct(layers, [digest, config.digest]).map((layer) => ({ name: blobName(layer.digest), layer })),
  ]
  const bytes = files.reduce((sum, file) => sum + tarFileBytes(sizeOf(file)), tarEnd.length)
  const { bytesMax } = limits.image
  if (bytes > bytesMax)
    throw refuse(
      address,
      `it has ${bytes} bytes`,
      `At most ${bytesMax} are taken: leave out what the image does not need.`,
    )
  return { content: new ImageTar(client, files).stream(), bytes, etag: digest, versionId: null }
}

/** From the reference to the manifest of one image, through as many indexes as lie between. */
class Search {
  readonly #client: RegistryClient
  readonly #address: RegistryAddress
  readonly #seen = new Set<Digest>()
  readonly #platforms: string[] = []

  constructor(client: RegistryClient, address: RegistryAddress) {
    this.#client = client
    this.#address = address
  }

  async find(): Promise<Found> {
    const { digest, tag } = this.#address.reference
    const raw = await this.#client.manifest(digest ?? tag ?? 'latest')
    if (digest !== null && raw.digest !== digest) throw this.#otherBytes({ mediaType: '', digest, bytes: 0 }, raw)
    const found = await this.#within(raw, 0)
    if (found === null) throw wrongPlatform(this.#address, this.#platforms)
    return found
  }

  /** Null where there is none for this machine. */
  async #within(raw: RawManifest, depth: number): Promise<Found | null> {
    this.#seen.add(raw.digest)
    const manifest = parseManifest(this.#address, raw)
    if (manifest.kind === 'image') return { ...raw, image: manifest }
    if (depth >= depthMax)
      throw refuse(this.#address, `its indexes are nested more than ${depthMax} deep`, 'Push a flat one.')
    this.#platforms.push(...manifest.entries.flatMap(({ platform }) => platform ?? []))
    for (const entry of candidates(manifest.entries, this.#address.arch)) {
      const found = await this.#entry(entry, depth + 1)
      if (found !== null) return found
    }
    return null
  }

  async #entry(entry: Descriptor, depth: number): Promise<Found | null> {
    if (this.#seen.has(entry.digest)) throw this.#circular(entry.digest)
    if (this.#seen.size >= manifestsMax)
      throw refuse(
        this.#address,
        `it has more than ${manifestsMax} manifests to look at`,
        'Name the one by its digest.',
      )
    const raw = await this.#client.manifest(entry.digest)
    if (raw.digest !== entry.digest || raw.content.length !== entry.bytes) throw this.#otherBytes(entry, raw)
    return this.#within(raw, depth)
  }

  #otherBytes(wanted: Descriptor, { digest, content }: RawManifest): Error {
    // Nothing can name its own digest: who leads in a circle lies about one.
    if (this.#seen.has(digest)) return this.#circular(digest)
    if (digest !== wanted.digest) return this.#client.otherBytes(wanted, digest)
    return this.#client.otherSize(wanted, content.length)
  }

  #circular(digest: Digest): Error {
    return refuse(this.#address, `its index refers to itself (${digest})`, 'Push the image again.')
  }
}

type TarFile =
  { readonly name: string; readonly content: Buffer } | { readonly name: string; readonly layer: Descriptor }

/** The members one after the other; layers come from the registry while they are read, and are what their digests say or the stream fails. */
class ImageTar {
  readonly #client: RegistryClient
  readonly #files: readonly TarFile[]
  #coming: Readable | null = null

  constructor(client: RegistryClient, files: readonly TarFile[]) {
    this.#client = client
    this.#files = files
  }

  stream(): Readable {
    const stream = Readable.from(this.#members(), { objectMode: false })
    // One that waits for its origin does not come to its own end soon.
    stream.once('close', () => this.#coming?.destroy())
    return stream
  }

  async *#members(): AsyncGenerator<Uint8Array> {
    for (const file of this.#files) {
      const bytes = sizeOf(file)
      yield tarHeader(file.name, bytes)
      if ('layer' in file) yield* this.#layer(file.layer)
      else yield file.content
      if (bytes % 512 !== 0) yield tarPadding(bytes)
    }
    yield tarEnd
  }

  async *#layer(layer: Descriptor): AsyncGenerator<Uint8Array> {
    const hash = createHash('sha256')
    let bytes = 0
    const content = await this.#client.blob(layer)
    this.#coming = content
    for await (const chunk of content) {
      const piece: Uint8Array = chunk
      bytes += piece.length
      if (bytes > layer.bytes) throw this.#client.otherSize(layer, bytes)
      hash.update(piece)
      yield piece
    }
    this.#coming = null
    const actual: Digest = `sha256:${hash.digest('hex')}`
    if (bytes !== layer.bytes) throw this.#client.otherSize(layer, bytes)
    if (actual !== layer.digest) throw this.#client.otherBytes(layer, actual)
  }
}

/** The form that all tools agree on, with nothing in it that depends on how the image was asked for. */
function indexOf({ mediaType, digest, bytes }: Descriptor): Buffer {
  return Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: 'application/vnd.oci.image.index.v1+json',
      manifests: [{ mediaType, digest, size: bytes }],
    }),
  )
}

function distinct(layers: readonly Descriptor[], before: readonly Digest[]): Descriptor[] {
  const seen = new Set<Digest>(before)
  return layers.filter(({ digest }) => !seen.has(digest) && seen.add(digest))
}

function sizeOf(file: TarFile): number {
  return 'layer' in file ? file.layer.bytes : file.content.length
}

function blobName(digest: Digest): string {
  return `blobs/sha256/${digest.slice('sha256:'.length)}`
}
