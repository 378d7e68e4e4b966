import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { buffer } from 'node:stream/consumers'
import { promisify } from 'node:util'
import { pack, type Headers } from 'tar-stream'
import { packageFiles } from '../../src/image/debian-packages.ts'
import { imageOf, type ImageOptions } from './oci-image.ts'
import { testCache } from './test-cache.ts'

/* Images for tests: by hand, down to the single tar header, and by umoci from Debian's packages. */

const run = promisify(execFile)

export interface Entry extends Partial<Headers> {
  readonly name: string
  readonly content?: string | Buffer
}

export interface ImageSpec extends ImageOptions {
  /** Lowest first. */
  readonly layers: readonly (readonly Entry[])[]
}

export const hexOf = (bytes: Buffer | string): string => createHash('sha256').update(bytes).digest('hex')

export async function tarOf(entries: readonly Entry[]): Promise<Buffer> {
  const tar = pack()
  for (const { content, ...header } of entries) tar.entry(header, content ?? '')
  tar.finalize()
  return buffer(tar)
}

/** Blobs of an image by the hex of their digest, and its manifest's. */
export async function imageBlobs({
  layers,
  ...options
}: ImageSpec): Promise<{ blobs: Map<string, Buffer>; manifest: string }> {
  const image = imageOf(await Promise.all(layers.map(tarOf)), options)
  const all = [...image.layers, image.config, image.manifest].map(({ content }) => content)
  return { blobs: new Map(all.map((content) => [hexOf(content), content])), manifest: hexOf(image.manifest.content) }
}

export async function ociLayout(spec: ImageSpec): Promise<Buffer> {
  const { blobs, manifest } = await imageBlobs(spec)
  return layoutOf(blobs, { manifests: [{ digest: `sha256:${manifest}`, size: blobs.get(manifest)?.length }] })
}

export async function layoutOf(blobs: ReadonlyMap<string, Buffer>, index: unknown): Promise<Buffer> {
  return tarOf([
    { name: 'oci-layout', content: '{"imageLayoutVersion":"1.0.0"}' },
    { name: 'index.json', content: JSON.stringify(index) },
    ...[...blobs].map(([hex, content]) => ({ name: `blobs/sha256/${hex}`, content })),
  ])
}

/** As `docker save` wrote it before it wrote layouts. */
export async function dockerArchive({ layers, ...options }: ImageSpec): Promise<Buffer> {
  const image = imageOf(await Promise.all(layers.map(tarOf)), { ...options, compress: (tar) => tar })
  const names = image.layers.map((_, n) => `${n}/layer.tar`)
  const config = `${hexOf(image.config.content)}.json`
  return tarOf([
    ...image.layers.map(({ content }, n) => ({ name: names[n] ?? '', content })),
    { name: config, content: image.config.content },
    { name: 'manifest.json', content: JSON.stringify([{ Config: config, RepoTags: null, Layers: names }]) },
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

/** A layer with busybox as its shell and as `tools`. */
export const shellLayer = (...tools: readonly string[]): readonly Entry[] => [
  { name: 'bin/', type: 'directory' },
  { name: 'bin/busybox', mode: 0o755, content: readFileSync(busybox()) },
  ...['sh', ...tools].map((name) => ({ name: `bin/${name}`, type: 'symlink' as const, linkname: 'busybox' })),
]

/** Starts /serve.sh, a `serverScript`, for each connection. */
export const listen = ['/bin/busybox', 'nc', '-ll', '-p', '8080', '-e', '/serve.sh']

/** Answers any request with what the commands `answer` print; the request's body is $body. */
export const serverScript = (answer: string): string => `#!/bin/sh
length=0
while read -r name value; do
  case "$name" in
    [Cc]ontent-[Ll]ength:) length="\${value%?}" ;;
    ?) break ;;
  esac
done
body="$(/bin/busybox head -c "$length")"
answer="$(
${answer}
)"
printf 'HTTP/1.1 200 OK\\r\\nContent-Type: text/plain\\r\\nContent-Length: %s\\r\\n\\r\\n%s' "\${#answer}" "$answer"
`

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
