import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { cpSync, existsSync, mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { buffer } from 'node:stream/consumers'
import { promisify } from 'node:util'
import { gzipSync, zstdCompressSync } from 'node:zlib'
import { pack, type Headers } from 'tar-stream'
import { packageFiles } from '../../src/image/debian-packages.ts'
import { testCache } from './test-cache.ts'

/* Images for tests: by hand, down to the single tar header, and by umoci from Debian's packages. */

const run = promisify(execFile)

export interface Entry extends Partial<Headers> {
  readonly name: string
  readonly content?: string | Buffer
}

export type Compression = 'none' | 'gzip' | 'zstd'

export interface ImageSpec {
  /** Lowest first. */
  readonly layers: readonly (readonly Entry[])[]
  /** `config` of the image's configuration. */
  readonly config?: Readonly<Record<string, unknown>>
  readonly architecture?: string
  readonly compression?: Compression
  /** Further layers as they are, which no configuration describes rightly. */
  readonly extra?: readonly Buffer[]
  /** Changes the documents before they get their digests. */
  readonly change?: (documents: { config: Record<string, unknown>; manifest: Record<string, unknown> }) => void
}

export const ownArchitecture = process.arch === 'arm64' ? 'arm64' : 'amd64'

export const hexOf = (bytes: Buffer | string): string => createHash('sha256').update(bytes).digest('hex')
const jsonOf = (value: unknown): Buffer => Buffer.from(JSON.stringify(value))
const compress: Readonly<Record<Compression, (tar: Buffer) => Buffer>> = {
  none: (tar) => tar,
  gzip: (tar) => gzipSync(tar),
  zstd: (tar) => zstdCompressSync(tar),
}

export async function tarOf(entries: readonly Entry[]): Promise<Buffer> {
  const tar = pack()
  for (const { content, ...header } of entries) tar.entry(header, content ?? '')
  tar.finalize()
  return buffer(tar)
}

/** Blobs of an image by the hex of their digest, and its manifest's. */
export async function imageBlobs(spec: ImageSpec): Promise<{ blobs: Map<string, Buffer>; manifest: string }> {
  const tars = await Promise.all(spec.layers.map(tarOf))
  const layers = [...tars.map((tar) => compress[spec.compression ?? 'gzip'](tar)), ...(spec.extra ?? [])]
  const config: Record<string, unknown> = {
    architecture: spec.architecture ?? ownArchitecture,
    os: 'linux',
    config: spec.config ?? {},
    rootfs: { type: 'layers', diff_ids: [...tars, ...(spec.extra ?? [])].map((tar) => `sha256:${hexOf(tar)}`) },
  }
  const describe = (bytes: Buffer): object => ({ digest: `sha256:${hexOf(bytes)}`, size: bytes.length })
  const manifest: Record<string, unknown> = { schemaVersion: 2, layers: layers.map(describe) }
  spec.change?.({ config, manifest })
  manifest['config'] ??= describe(jsonOf(config))
  const blobs = [...layers, jsonOf(config), jsonOf(manifest)]
  return { blobs: new Map(blobs.map((bytes) => [hexOf(bytes), bytes])), manifest: hexOf(jsonOf(manifest)) }
}

export async function ociLayout(spec: ImageSpec): Promise<Buffer> {
  const { blobs, manifest } = await imageBlobs(spec)
  return layoutOf(blobs, { manifests: [{ digest: `sha256:${manifest}`, size: blobs.get(manifest)?.length }] })
}

export async function layoutOf(blobs: ReadonlyMap<string, Buffer>, index: unknown): Promise<Buffer> {
  return tarOf([
    { name: 'oci-layout', content: '{"imageLayoutVersion":"1.0.0"}' },
    { name: 'index.json', content: jsonOf(index) },
    ...[...blobs].map(([hex, content]) => ({ name: `blobs/sha256/${hex}`, content })),
  ])
}

/** As `docker save` wrote it before it wrote layouts. */
export async function dockerArchive(spec: ImageSpec): Promise<Buffer> {
  const tars = await Promise.all(spec.layers.map(tarOf))
  const config = jsonOf({
    architecture: spec.architecture ?? ownArchitecture,
    os: 'linux',
    config: spec.config ?? {},
    rootfs: { type: 'layers', diff_ids: tars.map((tar) => `sha256:${hexOf(tar)}`) },
  })
  const names = tars.map((_, n) => `${n}/layer.tar`)
  return tarOf([
    ...tars.map((content, n) => ({ name: names[n] ?? '', content })),
    { name: `${hexOf(config)}.json`, content: config },
    { name: 'manifest.json', content: jsonOf([{ Config: `${hexOf(config)}.json`, RepoTags: null, Layers: names }]) },
  ])
}

/** A program of Debian's that tests need, found once. */
function debianProgram(name: string, program: string): string {
  const folder = testCache(`debian-${name}`)
  const target = path.join(folder, path.basename(program))
  if (existsSync(target)) return target
  const draft = mkdtempSync(path.join(os.tmpdir(), 'hearth-deb-'))
  try {
    const found = packageFiles([name], draft)
      .get(name)
      ?.find((file) => file.path.endsWith(program))
    if (found === undefined) throw new Error(`Debian's package ${name} cannot be had.`)
    mkdirSync(folder, { recursive: true })
    cpSync(found.source, `${target}.draft`)
    renameSync(`${target}.draft`, target)
    return target
  } finally {
    rmSync(draft, { recursive: true, force: true })
  }
}

/** A static shell with its tools, an HTTP server among them. */
export const busybox = (): string => debianProgram('busybox-static', '/bin/busybox')

export const umoci = (): string => debianProgram('umoci', '/bin/umoci')

/** A layout that umoci made of `files`, with busybox as /bin/sh, in `folder`; `settings` are those of `umoci config`. */
export async function umociLayout(
  folder: string,
  { files, settings }: { files: Readonly<Record<string, string>>; settings: readonly string[] },
): Promise<string> {
  const [layout, bundle] = [path.join(folder, 'layout'), path.join(folder, 'bundle')]
  const image = ['--image', `${layout}:app`]
  await run(umoci(), ['init', '--layout', layout])
  await run(umoci(), ['new', ...image])
  await run(umoci(), ['unpack', '--rootless', ...image, bundle])
  const root = path.join(bundle, 'rootfs')
  mkdirSync(path.join(root, 'bin'), { recursive: true })
  cpSync(busybox(), path.join(root, 'bin/busybox'))
  for (const name of ['sh', 'cat', 'env', 'ls', 'id', 'touch']) symlinkSync('busybox', path.join(root, 'bin', name))
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(path.dirname(path.join(root, name)), { recursive: true })
    writeFileSync(path.join(root, name), content, { mode: 0o755 })
  }
  await run(umoci(), ['repack', ...image, bundle])
  await run(umoci(), ['config', ...image, ...settings])
  await run(umoci(), ['gc', '--layout', layout])
  return layout
}
