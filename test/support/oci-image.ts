import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { gzipSync } from 'node:zlib'
import { tarEnd, tarHeader, tarPadding } from '../../src/domain/tar.ts'

/** A blob, and how a manifest names it. */
export interface Blob {
  readonly content: Buffer
  readonly descriptor: { readonly mediaType: string; readonly digest: string; readonly size: number }
}

export interface TestImage {
  readonly manifest: Blob
  readonly config: Blob
  readonly layers: readonly Blob[]
}

export const mediaTypes = {
  manifest: 'application/vnd.oci.image.manifest.v1+json',
  index: 'application/vnd.oci.image.index.v1+json',
  config: 'application/vnd.oci.image.config.v1+json',
  layer: 'application/vnd.oci.image.layer.v1.tar+gzip',
} as const

export const sha256 = (content: Uint8Array): string => `sha256:${createHash('sha256').update(content).digest('hex')}`

export function blobOf(content: Buffer | object, mediaType: string): Blob {
  const bytes = Buffer.isBuffer(content) ? content : Buffer.from(JSON.stringify(content))
  return { content: bytes, descriptor: { mediaType, digest: sha256(bytes), size: bytes.length } }
}

/** One plain file a name, with mode 0644. */
export function tarOf(files: Readonly<Record<string, string | Buffer>>): Buffer {
  const parts = Object.entries(files).flatMap(([name, text]) => {
    const content = Buffer.from(text)
    return [tarHeader(name, content.length), content, tarPadding(content.length)]
  })
  return Buffer.concat([...parts, tarEnd])
}

export interface ImageOptions {
  /** `config` of the image's configuration. */
  readonly config?: object
  readonly architecture?: string
  /** Of layers; default: gzip. */
  readonly compress?: (tar: Buffer) => Buffer
  /** Further layers as they are, which no configuration describes rightly. */
  readonly extra?: readonly Buffer[]
  /** Changes the documents before they get their digests. */
  readonly change?: (documents: { config: Record<string, unknown>; manifest: Record<string, unknown> }) => void
}

export const ownArchitecture = process.arch === 'arm64' ? 'arm64' : 'amd64'

/** An image of layers: tars as they are, or of plain files by name. */
export function imageOf(
  layers: readonly (Buffer | Readonly<Record<string, string | Buffer>>)[],
  { architecture = ownArchitecture, compress = gzipSync, extra = [], change = () => {}, ...own }: ImageOptions = {},
): TestImage {
  const tars = layers.map((layer) => (Buffer.isBuffer(layer) ? layer : tarOf(layer)))
  const blobs = [...tars.map((tar) => compress(tar)), ...extra].map((layer) => blobOf(layer, mediaTypes.layer))
  const rootfs = { type: 'layers', diff_ids: [...tars, ...extra].map(sha256) }
  const config: Record<string, unknown> = { architecture, os: 'linux', config: own.config ?? {}, rootfs }
  const manifest: Record<string, unknown> = {
    schemaVersion: 2,
    mediaType: mediaTypes.manifest,
    layers: blobs.map(({ descriptor }) => descriptor),
  }
  change({ config, manifest })
  const configBlob = blobOf(config, mediaTypes.config)
  const whole = { config: configBlob.descriptor, ...manifest }
  return { manifest: blobOf(whole, mediaTypes.manifest), config: configBlob, layers: blobs }
}

/** An index of `entries`, each for its platform. */
export function indexOf(entries: readonly { blob: Blob; platform?: object }[]): Blob {
  const manifests = entries.map(({ blob, platform }) => ({ ...blob.descriptor, ...(platform && { platform }) }))
  return blobOf({ schemaVersion: 2, mediaType: mediaTypes.index, manifests }, mediaTypes.index)
}

/** What a push needs to know. */
export interface Repository {
  /** `http://HOST:PORT/v2/NAME`. */
  readonly url: string
  readonly headers?: Readonly<Record<string, string>>
}

/** Pushes blobs, then the manifest under `tag`. */
export async function pushImage(to: Repository, tag: string, image: TestImage): Promise<void> {
  for (const blob of [image.config, ...image.layers]) await pushBlob(to, blob)
  await pushManifest(to, tag, image.manifest)
}

export async function pushBlob({ url, headers }: Repository, { content, descriptor }: Blob): Promise<void> {
  const begun = await fetch(`${url}/blobs/uploads/`, { method: 'POST', ...(headers && { headers }) })
  assert.equal(begun.status, 202, await begun.text())
  const target = new URL(begun.headers.get('location') ?? '', url)
  target.searchParams.set('digest', descriptor.digest)
  const body = new Uint8Array(content)
  const type = { 'content-type': 'application/octet-stream' }
  const put = await fetch(target, { method: 'PUT', headers: { ...headers, ...type }, body })
  assert.equal(put.status, 201, await put.text())
}

export async function pushManifest(
  { url, headers }: Repository,
  tag: string,
  { content, descriptor }: Blob,
): Promise<void> {
  const put = await fetch(`${url}/manifests/${tag}`, {
    method: 'PUT',
    headers: { ...headers, 'content-type': descriptor.mediaType },
    body: new Uint8Array(content),
  })
  assert.equal(put.status, 201, await put.text())
}
