import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { test } from 'node:test'
import { parseImageReference } from '../domain/image-reference.ts'
import { candidates, checkConfig, parseManifest, type Manifest } from './image-manifest.ts'
import type { RegistryAddress } from './registry-auth.ts'

const reference = parseImageReference('registry.example/app', 'code.image')
const address: RegistryAddress = { kind: 'registry', source: 'app', reference, arch: 'arm64', credentials: null }
const digest = `sha256:${'a'.repeat(64)}` as const
const oci = {
  manifest: 'application/vnd.oci.image.manifest.v1+json',
  index: 'application/vnd.oci.image.index.v1+json',
  config: 'application/vnd.oci.image.config.v1+json',
  layer: 'application/vnd.oci.image.layer.v1.tar',
}
const config = { mediaType: oci.config, digest, size: 2 }
const layer = { mediaType: `${oci.layer}+gzip`, digest, size: 1 }

function parse(body: unknown, contentType: string | null = null): Manifest {
  const content = Buffer.from(typeof body === 'string' ? body : JSON.stringify(body))
  const actual = createHash('sha256').update(content).digest('hex')
  return parseManifest(address, { content, digest: `sha256:${actual}`, contentType })
}

function refused(work: () => unknown, message: RegExp): void {
  assert.throws(work, { name: 'AppError', code: 'invalid', field: 'code.image', message })
}

test('parseManifest: an image of OCI or of Docker, and its kind where only the header says it', () => {
  const parsed = parse({ schemaVersion: 2, config, layers: [layer] }, oci.manifest)
  const descriptors = { config: { mediaType: oci.config, digest, bytes: 2 }, layers: [{ ...layer, bytes: 1 }] }
  const { size: _size, ...first } = descriptors.layers[0] ?? { size: 0 }
  assert.deepEqual(parsed, { kind: 'image', mediaType: oci.manifest, config: descriptors.config, layers: [first] })
  const docker = 'application/vnd.docker.distribution.manifest.v2+json'
  const dockerLayer = { ...layer, mediaType: 'application/vnd.docker.image.rootfs.diff.tar.gzip' }
  const dockerConfig = { ...config, mediaType: 'application/vnd.docker.container.image.v1+json' }
  const image = parse({ mediaType: docker, config: dockerConfig, layers: [dockerLayer] })
  assert.deepEqual([image.kind, image.kind === 'image' && image.mediaType], ['image', docker])
  for (const suffix of ['', '+gzip', '+zstd'])
    parse({ config, layers: [{ ...layer, mediaType: `${oci.layer}${suffix}` }] })
})

test('parseManifest: what could be read in two ways, or in none, is refused', () => {
  const neither = /its manifest is neither an image's nor an index/
  refused(() => parse({ config, layers: [layer], manifests: [] }), neither)
  refused(() => parse({ mediaType: oci.index, config, layers: [layer] }), neither)
  refused(() => parse({ mediaType: oci.manifest, config, layers: [layer] }, oci.index), neither)
  refused(() => parse({ mediaType: oci.manifest, manifests: [] }), neither)
  for (const body of ['', '[]', 'null', '{}', '{"layers":[]}', '\u0000']) refused(() => parse(body), neither)
  const old = 'application/vnd.docker.distribution.manifest.v1+prettyjws'
  refused(() => parse({ schemaVersion: 1, fsLayers: [], history: [] }, old), neither)
})

test('parseManifest: layers that cannot be had or are too many, and descriptors that say nothing sure, are refused', () => {
  const foreign = 'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip'
  refused(() => parse({ config, layers: [{ ...layer, mediaType: foreign }] }), /layer 1 is of type ".*foreign/)
  refused(() => parse({ config, layers: Array.from({ length: 128 }, () => layer) }), /it has 128 layers\. At most 127/)
  refused(() => parse({ config: { ...config, mediaType: 'text/plain' }, layers: [] }), /it is no image/)
  const broken = [{ digest: 'sha256:short' }, { digest: `sha512:${'a'.repeat(128)}` }, { size: -1 }, { size: 1.5 }]
  for (const wrong of [...broken, { size: '1' }, { size: 2 ** 60 }, { mediaType: 1 }])
    refused(() => parse({ config, layers: [{ ...layer, ...wrong }] }), /layer 1 has no type, sha256 digest and size/)
  refused(() => parse({ manifests: [null] }), /an entry of its index has no type/)
  refused(() => parse({ manifests: Array.from({ length: 1_001 }, () => layer) }), /more than 1000 entries/)
})

test('candidates: what says that it is for the machine, then what does not say; never what is for another', () => {
  const entry = (platform: object | undefined, size: number): object => ({
    mediaType: oci.manifest,
    digest,
    size,
    ...(platform && { platform }),
  })
  const index = parse({
    manifests: [
      entry({ os: 'linux', architecture: 'amd64' }, 1),
      entry(undefined, 2),
      entry({ os: 'windows', architecture: 'arm64' }, 3),
      entry({ os: 'linux', architecture: 'arm64', variant: 'v8' }, 4),
      entry({ os: 'linux', architecture: 'arm64', variant: 'v9' }, 5),
      entry({ os: 'unknown', architecture: 'unknown' }, 6),
      { ...entry({ os: 'linux', architecture: 'arm64' }, 7), mediaType: 'application/vnd.example' },
    ],
  })
  assert.ok(index.kind === 'index')
  assert.deepEqual(
    candidates(index.entries, 'arm64').map(({ bytes }) => bytes),
    [4, 2],
  )
  assert.deepEqual(
    candidates(index.entries, 'x86_64').map(({ bytes }) => bytes),
    [1, 2],
  )
})

test('checkConfig: a configuration for other machines is refused, one that does not say passes', () => {
  const check = (body: object | string): void =>
    checkConfig(address, Buffer.from(typeof body === 'string' ? body : JSON.stringify(body)))
  check({ os: 'linux', architecture: 'arm64' })
  check({ os: 'linux', architecture: 'arm64', variant: 'v8' })
  check({ config: {} })
  refused(() => check({ os: 'linux', architecture: 'amd64' }), /it is not for linux\/arm64, but has linux\/amd64/)
  refused(() => check({ os: 'windows', architecture: 'arm64' }), /but has windows\/arm64/)
  refused(() => check('no JSON'), /its configuration is not a JSON object/)
})
