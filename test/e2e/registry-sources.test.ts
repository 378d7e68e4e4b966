import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { buffer } from 'node:stream/consumers'
import { after, before, beforeEach, test } from 'node:test'
import { systemClock } from '../../src/domain/clock.ts'
import type { RegistryCredentials } from '../../src/domain/code-source.ts'
import type { ErrorCode } from '../../src/domain/error.ts'
import { imageText, parseImageReference } from '../../src/domain/image-reference.ts'
import { silentLogger } from '../../src/domain/logger.ts'
import { openOrigins } from '../../src/origin/origins.ts'
import { startCuttingProxy, type CuttingProxy } from '../support/cutting-proxy.ts'
import {
  findDockerRegistry,
  htpasswdAuth,
  startDockerRegistry,
  type DockerRegistry,
} from '../support/docker-registry.ts'
import {
  blobOf,
  imageOf as anyImageOf,
  indexOf,
  mediaTypes,
  pushImage,
  pushManifest,
  type Blob,
} from '../support/oci-image.ts'
import { rejects } from '../support/rejects.ts'
import { startTokenServer } from '../support/token-server.ts'

/* Images from a real registry, behind a proxy that spoils answers, and from servers that lie. */

const found = findDockerRegistry()
const skip = 'missing' in found ? found.missing : false

let registry: DockerRegistry
let proxy: CuttingProxy
let proxied: string

before(async () => {
  if ('missing' in found) return
  registry = await startDockerRegistry(found.program)
  proxy = await startCuttingProxy(registry.url)
  proxied = new URL(proxy.url).host
})
after(async () => {
  if (skip !== false) return
  await proxy?.stop()
  await registry?.stop()
})
beforeEach(() => {
  if (skip !== false) return
  proxy.cuts = []
  proxy.storms = 0
  proxy.ranges.length = 0
  proxy.onRequest = async () => {}
})

interface Asking {
  /** Registries that may be asked by plain http. */
  readonly plain: readonly string[]
  readonly credentials?: RegistryCredentials
  /** An answer may take as long to begin. */
  readonly retryMs?: number
}

/** Nothing here is run: the machine may be another. */
const imageOf: typeof anyImageOf = (layers, options) => anyImageOf(layers, { architecture: 'amd64', ...options })

const open = async (text: string, { plain, credentials, retryMs = 5_000 }: Asking) => {
  const origins = openOrigins({
    s3: { endpoint: null, region: 'us-east-1', secret: null, mustHaveSecret: false },
    allowsPrivate: false,
    insecureRegistries: plain,
    patience: { retryMs, stallMs: 5_000, totalMs: 30_000 },
    imageTotalMs: 30_000,
    clock: systemClock,
    logger: silentLogger,
  })
  const reference = parseImageReference(text, 'code.image')
  const source = imageText(reference)
  return origins.open({ kind: 'registry', source, reference, arch: 'x86_64', credentials: credentials ?? null })
}

const fetched = async (text: string, asking: Asking): Promise<{ tar: Buffer; etag: string | null }> => {
  const { content, bytes, etag } = await open(text, asking)
  const tar = await buffer(content)
  assert.equal(tar.length, bytes)
  return { tar, etag }
}

async function refused(work: Promise<unknown>, code: ErrorCode, message: RegExp): Promise<void> {
  const error = await rejects(work, code, message)
  if (code === 'invalid') assert.equal(error.field, 'code.image')
}

const names = (tar: Buffer): string[] => execFileSync('tar', ['-tf', '-'], { input: tar }).toString().trim().split('\n')
const member = (tar: Buffer, name: string): Buffer => execFileSync('tar', ['-xOf', '-', name], { input: tar })
const blobName = ({ descriptor }: Blob): string => `blobs/sha256/${descriptor.digest.slice(7)}`
const repository = (name: string): { url: string } => ({ url: `${registry.url}/v2/${name}` })

/** Not to be compressed, so that it can be cut. */
const padding = (): Record<string, Buffer> => ({ padding: randomBytes(900_000) })

test('registry: an image is one tar in the form of an OCI layout, the same each time', { skip }, async () => {
  const image = imageOf([{ a: 'first' }, { b: 'second' }, { a: 'first' }])
  await pushImage(repository('team/app'), 'v1', image)
  const { tar, etag } = await fetched(`${proxied}/team/app:v1`, { plain: [proxied] })
  assert.equal(etag, image.manifest.descriptor.digest)
  const blobs = [image.manifest, image.config, ...image.layers.slice(0, 2)]
  assert.deepEqual(names(tar), ['oci-layout', 'index.json', ...blobs.map(blobName)])
  for (const blob of blobs) assert.deepEqual(member(tar, blobName(blob)), blob.content)
  assert.deepEqual(JSON.parse(member(tar, 'index.json').toString()).manifests, [image.manifest.descriptor])
  await pushImage(repository('other/name'), 'latest', image)
  assert.deepEqual((await fetched(`${proxied}/other/name`, { plain: [proxied] })).tar, tar)
  const pinned = `${proxied}/team/app@${image.manifest.descriptor.digest}`
  assert.deepEqual((await fetched(pinned, { plain: [proxied] })).tar, tar)
})

test(
  'registry: of an index, the image for this machine; attestations and others are left where they are',
  { skip },
  async () => {
    const wanted = imageOf([{ a: 'amd64' }])
    const other = imageOf([{ a: 'arm64' }], { architecture: 'arm64' })
    const attestation = imageOf([{ a: 'about' }], { architecture: 'unknown' })
    const at = repository('many')
    for (const [n, image] of [wanted, other, attestation].entries()) await pushImage(at, `part-${n}`, image)
    const arm = { blob: other.manifest, platform: { os: 'linux', architecture: 'arm64', variant: 'v8' } }
    const flat = indexOf([
      { blob: attestation.manifest, platform: { os: 'unknown', architecture: 'unknown' } },
      arm,
      { blob: wanted.manifest, platform: { os: 'linux', architecture: 'amd64' } },
    ])
    await pushManifest(at, 'flat', flat)
    await pushManifest(at, 'nested', indexOf([{ blob: indexOf([arm]) }, { blob: flat }].slice(1)))
    const asking = { plain: [registry.host] }
    const direct = await fetched(`${registry.host}/many:part-0`, asking)
    for (const tag of ['flat', 'nested'])
      assert.deepEqual(await fetched(`${registry.host}/many:${tag}`, asking), direct)
    await pushManifest(at, 'arm', indexOf([arm]))
    const notHere = /it is not for linux\/amd64, but has linux\/arm64\/v8\. Build and push it for linux\/amd64 too/
    await refused(fetched(`${registry.host}/many:arm`, asking), 'invalid', notHere)
    await refused(
      fetched(`${registry.host}/many:part-1`, asking),
      'invalid',
      /not for linux\/amd64, but has linux\/arm64\./,
    )
  },
)

test('registry: absent tag, repository and digest are told, and what is no image', { skip }, async () => {
  await pushImage(repository('there'), 'v1', imageOf([{ a: 'a' }]))
  const asking = { plain: [registry.host] }
  const absent = /has no manifest "v2" in "there" \(404 MANIFEST_UNKNOWN\)\. Check the name and the tag/
  await refused(fetched(`${registry.host}/there:v2`, asking), 'invalid', absent)
  await refused(fetched(`${registry.host}/nowhere:v1`, asking), 'invalid', /in "nowhere" \(404 \w+_UNKNOWN\)/)
  const none = `sha256:${'0'.repeat(64)}`
  await refused(fetched(`${registry.host}/there@${none}`, asking), 'invalid', /has no manifest "sha256:0000/)
  const chart = imageOf([{ a: 'a' }])
  const config = blobOf({}, 'application/vnd.cncf.helm.config.v1+json')
  const body = { schemaVersion: 2, mediaType: mediaTypes.manifest, config: config.descriptor, layers: [] }
  await pushImage(repository('chart'), 'v1', { ...chart, config, manifest: blobOf(body, mediaTypes.manifest) })
  await refused(fetched(`${registry.host}/chart:v1`, asking), 'invalid', /it is no image: its configuration is of type/)
})

test('registry: a transfer that is cut goes on where it was', { skip }, async () => {
  const image = imageOf([padding(), { b: 'second' }])
  await pushImage(repository('cut'), 'v1', image)
  proxy.onRequest = async ({ url }) => {
    if (url?.includes(image.layers[0]?.descriptor.digest ?? '') === true && proxy.ranges.length < 4)
      proxy.cuts = [300_000]
  }
  const { tar } = await fetched(`${proxied}/cut:v1`, { plain: [proxied] })
  for (const layer of image.layers) assert.deepEqual(member(tar, blobName(layer)), layer.content)
  const starts = proxy.ranges.map((range) => Number(/^bytes=(\d+)-$/.exec(range ?? '')?.[1] ?? 0))
  assert.deepEqual(starts.slice(0, 3), [0, 0, 0])
  assert.ok((starts[3] ?? 0) > 0 && starts.length > 4, String(starts))
})

test(
  'registry: a storm of 503 is sat out; one that lasts, and a registry that is down, are told',
  { skip },
  async () => {
    await pushImage(repository('storm'), 'v1', imageOf([{ a: 'a' }]))
    proxy.storms = 2
    assert.ok((await fetched(`${proxied}/storm:v1`, { plain: [proxied] })).tar.length > 0)
    proxy.storms = 1_000
    const lasting = /the registry answers 503 \(tried \d+ times in \d s\)\. Versions that are deployed run on/
    await refused(fetched(`${proxied}/storm:v1`, { plain: [proxied], retryMs: 1_000 }), 'capacity', lasting)
    const down = '127.0.0.1:9'
    await refused(
      fetched(`${down}/storm:v1`, { plain: [down], retryMs: 500 }),
      'capacity',
      /the connection is refused \(tried \d+ times/,
    )
  },
)

test(
  'registry: only the internet by https, unless the operator says so; nobody leads elsewhere',
  { skip },
  async (t) => {
    const closed = /is not an address of the internet\. Private .*allowPrivateSources/
    for (const host of [registry.host, 'localhost:5000', '169.254.169.254', '[::1]:5000', '10.0.0.1'])
      await refused(fetched(`${host}/a:v1`, { plain: [] }), 'invalid', closed)
    const leading = await serve(t, (_request, response) => {
      response.writeHead(307, { location: `${registry.url}/v2/` }).end()
    })
    const away = /it leads to http:\/\/127\.0\.0\.1:\d+\. Only https is fetched/
    await refused(fetched(`${leading}/a:v1`, { plain: [leading] }), 'invalid', away)
  },
)

test('registry: user and password, by Basic', { skip }, async (t) => {
  if ('missing' in found) return
  const folder = mkdtempSync(path.join(os.tmpdir(), 'hearth-htpasswd-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  const { section, headers, user, password } = htpasswdAuth(folder)
  const guarded = await startDockerRegistry(found.program, section)
  t.after(() => guarded.stop())
  const credentials = { user, password }
  const image = imageOf([{ a: 'a' }])
  await pushImage({ url: `${guarded.url}/v2/secret`, headers }, 'v1', image)
  const text = `${guarded.host}/secret:v1`
  const plain = [guarded.host]
  assert.equal((await fetched(text, { plain, credentials })).etag, image.manifest.descriptor.digest)
  const anonymous =
    /does not show it to everybody, or has no such repository \(401\)\. Check the name, or name a secret/
  await refused(fetched(text, { plain }), 'invalid', anonymous)
  const wrong = { ...credentials, password: 'wrong' }
  await refused(fetched(text, { plain, credentials: wrong }), 'invalid', /refuses the credentials \(401 UNAUTHORIZED\)/)
})

test('registry: a token from whom a real registry sends for it', { skip }, async (t) => {
  if ('missing' in found) return
  const folder = mkdtempSync(path.join(os.tmpdir(), 'hearth-tokens-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  const credentials = { user: 'puller', password: 'right' }
  const tokens = await startTokenServer(folder, credentials)
  t.after(() => tokens.stop())
  const guarded = await startDockerRegistry(found.program, tokens.section)
  t.after(() => guarded.stop())
  const headers = { authorization: `Bearer ${tokens.tokenFor('team/closed', ['pull', 'push'])}` }
  const image = imageOf([{ a: 'a' }])
  await pushImage({ url: `${guarded.url}/v2/team/closed`, headers }, 'v1', image)
  const text = `${guarded.host}/team/closed:v1`
  const plain = [guarded.host, tokens.host]
  assert.equal((await fetched(text, { plain, credentials })).etag, image.manifest.descriptor.digest)
  assert.deepEqual(tokens.asked, ['repository:team/closed:pull by puller'])
  const anonymous = /does not show it to everybody, or has no such repository \(401 UNAUTHORIZED\)/
  await refused(fetched(text, { plain }), 'invalid', anonymous)
  const wrong = { ...credentials, password: 'wrong' }
  await refused(fetched(text, { plain, credentials: wrong }), 'invalid', /refuses the credentials \(401 by 127/)
})

type Handler = http.RequestListener

async function serve(t: { after: (undo: () => Promise<void>) => void }, handler: Handler): Promise<string> {
  const server = http.createServer(handler)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(async () => {
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  })
  return `127.0.0.1:${(server.address() as AddressInfo).port}`
}

/** A registry that answers each path with what `content` has for it. */
function playing(content: Readonly<Record<string, Blob | undefined>>): Handler {
  return (request, response) => {
    const blob = content[(request.url ?? '').split('/').slice(3).join('/')]
    if (blob === undefined) {
      response.writeHead(404).end()
      return
    }
    const length = blob.content.length
    response.writeHead(200, { 'content-type': blob.descriptor.mediaType, 'content-length': length }).end(blob.content)
  }
}

test('registry: bytes that are not what their digest or size says are never kept', async (t) => {
  const image = imageOf([{ a: 'a' }])
  const [layer] = image.layers
  assert.ok(layer !== undefined)
  const honest: Record<string, Blob> = {
    'manifests/v1': image.manifest,
    [`blobs/${image.config.descriptor.digest}`]: image.config,
    [`blobs/${layer.descriptor.digest}`]: layer,
  }
  const answers = { ...honest }
  const host = await serve(t, (request, response) => playing(answers)(request, response))
  const asking = { plain: [host] }
  assert.ok((await fetched(`${host}/a:v1`, asking)).tar.length > 0)
  const flipped = Buffer.from(layer.content)
  flipped[20] = (flipped[20] ?? 0) ^ 1
  const lies: [string, Buffer, RegExp][] = [
    [`blobs/${layer.descriptor.digest}`, flipped, /what the registry gives as "sha256:\w+" has digest "sha256:/],
    [
      `blobs/${layer.descriptor.digest}`,
      layer.content.subarray(1),
      /has \d+ bytes, not the \d+ that its manifest says/,
    ],
    [`blobs/${layer.descriptor.digest}`, Buffer.concat([layer.content, layer.content]), /has \d+ bytes, not the/],
    [`blobs/${image.config.descriptor.digest}`, Buffer.from(image.config.content).fill('x', 5, 6), /has digest/],
    ['manifests/v1', Buffer.from('{}'), /its manifest is neither an image's nor an index/],
    ['manifests/v1', Buffer.from('x'.repeat(5 * 2 ** 20)), /the manifest "v1" is larger than 4194304 bytes/],
  ]
  for (const [name, content, message] of lies) {
    Object.assign(answers, honest, { [name]: { content, descriptor: (honest[name] ?? layer).descriptor } })
    await refused(fetched(`${host}/a:v1`, asking), 'invalid', message)
  }
  const pinned = `sha256:${'1'.repeat(64)}`
  Object.assign(answers, honest, { [`manifests/${pinned}`]: image.manifest })
  await refused(fetched(`${host}/a@${pinned}`, asking), 'invalid', /gives as "sha256:1111\w+" has digest/)
})

test('registry: an index that leads in a circle, or too deep, is told', async (t) => {
  const named = { ...indexOf([]).descriptor, digest: `sha256:${'2'.repeat(64)}` }
  const circle = indexOf([{ blob: { content: Buffer.alloc(0), descriptor: named } }])
  let deep = indexOf([])
  const answers: Record<string, Blob> = {
    'manifests/circle': circle,
    [`manifests/${named.digest}`]: circle,
  }
  for (let depth = 0; depth < 7; depth++) {
    answers[`manifests/${deep.descriptor.digest}`] = deep
    deep = indexOf([{ blob: deep }])
  }
  answers['manifests/deep'] = deep
  const host = await serve(t, playing(answers))
  await refused(fetched(`${host}/a:circle`, { plain: [host] }), 'invalid', /its index refers to itself \(sha256:/)
  await refused(fetched(`${host}/a:deep`, { plain: [host] }), 'invalid', /its indexes are nested more than 4 deep/)
})

test('registry: a token for who asks, from whom the registry names; blobs elsewhere never see it', async (t) => {
  const image = imageOf([{ a: 'a' }])
  const [layer] = image.layers
  assert.ok(layer !== undefined)
  const seen: string[] = []
  const elsewhere = await serve(t, (request, response) => {
    seen.push(`blob ${request.headers.authorization ?? 'nobody'}`)
    response.end(layer.content)
  })
  let tokens = 0
  const tokenServer = await serve(t, (request, response) => {
    seen.push(`token ${request.url} ${request.headers.authorization ?? 'nobody'}`)
    const basic = request.headers.authorization
    const isWrong = basic !== undefined && basic !== `Basic ${Buffer.from('user:right').toString('base64')}`
    if (isWrong) response.statusCode = 401
    response.end(JSON.stringify({ access_token: `token-${basic === undefined ? 'anyone' : 'user'}-${++tokens}` }))
  })
  const parts = playing({
    'manifests/v1': image.manifest,
    [`blobs/${image.config.descriptor.digest}`]: image.config,
  })
  let expired = 0
  const host = await serve(t, (request, response) => {
    const isOpen = request.url?.startsWith('/v2/open/') === true
    const pattern = isOpen ? /^Bearer token-/ : /^Bearer token-user-/
    const isOver = request.url?.includes('/blobs/') === true && expired-- > 0
    if (!pattern.test(request.headers.authorization ?? '') || isOver) {
      const realm = `Bearer realm="http://${tokenServer}/token?x=1",service="tests",scope="repository:private/a:pull"`
      response.writeHead(401, { 'www-authenticate': realm }).end()
    } else if (request.url?.includes(layer.descriptor.digest) === true)
      response.writeHead(307, { location: `http://${elsewhere}/blob?signature=1` }).end()
    else parts(request, response)
  })
  const plain = [host, tokenServer, elsewhere]
  const right = { user: 'user', password: 'right' }
  assert.ok((await fetched(`${host}/open:v1`, { plain })).tar.length > 0)
  assert.deepEqual(seen, ['token /token?x=1&service=tests&scope=repository%3Aprivate%2Fa%3Apull nobody', 'blob nobody'])
  seen.length = 0
  expired = 1
  assert.ok((await fetched(`${host}/closed:v1`, { plain, credentials: right })).tar.length > 0)
  assert.match(seen.join('\n'), /^(token \S+ Basic \S+\n){2}blob nobody$/)
  const refusal = /does not show it to everybody, or has no such repository \(401\)/
  await refused(fetched(`${host}/closed:v1`, { plain }), 'invalid', refusal)
  const wrong = { ...right, password: 'wrong' }
  const byWhom = new RegExp(`refuses the credentials \\(401 by ${tokenServer}\\)`)
  await refused(fetched(`${host}/closed:v1`, { plain, credentials: wrong }), 'invalid', byWhom)
  const unlisted = /it leads to http:\/\/127\.0\.0\.1:\d+\. Only https is fetched/
  await refused(fetched(`${host}/open:v1`, { plain: [host] }), 'invalid', unlisted)
})
