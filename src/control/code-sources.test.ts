import assert from 'node:assert/strict'
import { Readable } from 'node:stream'
import { after, before, beforeEach, test } from 'node:test'
import { startScripted, type ApiInProcess } from '../../test/support/in-process.ts'
import { rejects } from '../../test/support/rejects.ts'
import type { CodeOrigin, CodeSource, OriginAddress, Origins } from '../domain/code-source.ts'
import type { Caller } from '../domain/control.ts'

/* What the platform asks of an origin, and with whose credentials; the origin itself is played. */

const admin: Caller = { actor: 'tester', project: 'default', scopes: ['admin'] }
const endpoint = 'https://s3.operator.example'
const operator = { endpoint, region: 'eu-central-1', secret: null, mustHaveSecret: false } as const

let api: ApiInProcess
let asked: OriginAddress[]
let settings: Origins['s3']
let bytes: number

const origins: { -readonly [K in keyof Origins]: Origins[K] } = {
  get s3() {
    return settings
  },
  open: async (address) => {
    asked.push(address)
    const content = Readable.from([Buffer.alloc(bytes, 'x')])
    return { content, bytes, etag: '"e"', versionId: 'v7' }
  },
}

before(async () => {
  api = await startScripted(undefined, { origins })
  await api.control.secrets.set(admin, 'keys', 'AKIA:secret/with+signs\n')
  await api.control.secrets.set(admin, 'session', 'AKIA:secret:token:with:colons')
  await api.control.secrets.set(admin, 'malformed', 'no-colon-in-here')
})
after(async () => api.close())
beforeEach(() => {
  asked = []
  settings = operator
  bytes = 7
})

let count = 0
const deploy = async (code: CodeSource): Promise<CodeOrigin | null> => {
  const config = { runtime: 'node', handler: 'index.handler' }
  const { version } = await api.control.functions.create(admin, { name: `f${count++}`, code, config })
  return version.codeOrigin
}

async function refused(code: CodeSource, field: string, message: RegExp): Promise<void> {
  const error = await rejects(deploy(code), 'invalid', message)
  assert.equal(error.field, field, error.message)
  assert.deepEqual(asked, [])
}

const credentialsAsked = (): unknown => {
  const [address] = asked
  return address?.kind === 's3' ? address.credentials : undefined
}

test("CodeSources: the operator's endpoint is signed for by the platform itself, unless a secret is named", async () => {
  const origin = await deploy({ s3: 's3://code/a.zip' })
  const at = { bucket: 'code', key: 'a.zip', versionId: null, source: 's3://code/a.zip' }
  const expected = { kind: 's3', ...at, endpoint, region: 'eu-central-1', credentials: null, isForeign: false }
  assert.deepEqual(asked, [expected])
  const { fetchedAt: _fetchedAt, ...rest } = origin ?? { fetchedAt: 0 }
  assert.deepEqual(rest, { kind: 's3', source: 's3://code/a.zip', endpoint, etag: '"e"', versionId: 'v7' })
  asked = []
  await deploy({ s3: 's3://code/a.zip', secret: 'keys' })
  assert.deepEqual(credentialsAsked(), { accessKeyId: 'AKIA', secretAccessKey: 'secret/with+signs' })
  asked = []
  settings = { ...operator, secret: 'session' }
  await deploy({ s3: 's3://code/a.zip' })
  const session = { accessKeyId: 'AKIA', secretAccessKey: 'secret', sessionToken: 'token:with:colons' }
  assert.deepEqual(credentialsAsked(), session)
})

test("CodeSources: the platform's credentials go to no other endpoint, and to no tenant who is a stranger", async () => {
  await refused({ s3: 's3://code/a.zip', endpoint: 'https://s3.other.example' }, 'code.secret', /s3\.other\.example/)
  settings = { ...operator, secret: 'session' }
  await refused({ s3: 's3://code/a.zip', endpoint: 'https://s3.other.example' }, 'code.secret', /s3\.other\.example/)
  settings = { ...operator, mustHaveSecret: true }
  await refused({ s3: 's3://code/a.zip' }, 'code.secret', /accessKeyId:secretAccessKey/)
  settings = operator
  await deploy({ s3: 's3://code/a.zip', endpoint: 'https://s3.other.example/', region: 'x-1', secret: 'keys' })
  const [address] = asked
  assert.ok(address?.kind === 's3')
  assert.deepEqual([address.endpoint, address.region, address.isForeign], ['https://s3.other.example', 'x-1', true])
})

test('CodeSources: secrets that are absent or no credentials are refused, their values never shown', async () => {
  await refused({ s3: 's3://code/a.zip', secret: 'absent' }, 'code.secret', /"absent": must be the name of a secret/)
  await refused(
    { s3: 's3://code/a.zip', secret: 'malformed' },
    'code.secret',
    /"malformed": must be a secret that holds/,
  )
  await refused({ s3: 's3://code/a.zip', region: 'EU!' }, 'code.region', /must be a region/)
  await refused({ s3: 's3://code/a.zip', endpoint: 'ftp://x' }, 'code.endpoint', /S3 endpoint/)
  await refused({ s3: 's3://code/a.zip', endpoint: 'https://u:p@x' }, 'code.endpoint', /S3 endpoint/)
  await refused({ s3: 's3://code/a.zip', sha256: 'short' }, 'code.sha256', /64 hex digits/)
  for (const text of api.logged) assert.ok(!/no-colon-in-here|secret\/with/.test(text), text)
})

test('CodeSources: the query of an https address goes to the server and into no record', async () => {
  const sha256 = '0bfe935e70c321c7ca3afc75ce0d0ca2f98b5422e008bb31c00c6d7f1f1c0ad6'
  bytes = 0
  const empty = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'
  const origin = await deploy({ https: 'https://web.example/a.zip?X-Amz-Signature=abc', sha256: empty })
  assert.equal(origin?.source, 'https://web.example/a.zip')
  assert.ok(asked[0]?.kind === 'https' && asked[0].url.includes('X-Amz-Signature=abc'))
  const audit = await api.control.audit(admin, { limit: 10 })
  assert.ok(!JSON.stringify([audit, api.logged]).includes('X-Amz-Signature'))
  await assert.rejects(deploy({ https: 'https://web.example/a.zip', sha256 }), {
    code: 'invalid',
    field: 'code.sha256',
  })
})

test('CodeSources: more than code may have is refused before it is read', async () => {
  bytes = 7
  const large: Origins['open'] = origins.open
  origins.open = async (address) => ({ ...(await large(address)), bytes: 250 * 1024 * 1024 + 1 })
  try {
    await assert.rejects(deploy({ s3: 's3://code/a.zip' }), { code: 'invalid', message: /larger than 250 MiB/ })
  } finally {
    origins.open = large
  }
})

const etag = `sha256:${'a'.repeat(64)}`

/** A registry whose image is `text`. */
function playing(text: () => string): Origins['open'] {
  return async (address) => {
    asked.push(address)
    const content = Readable.from(
      (async function* () {
        yield Buffer.from(text())
      })(),
    )
    return { content, bytes: null, etag, versionId: null }
  }
}

async function withOrigin<T>(open: Origins['open'], work: () => Promise<T>): Promise<T> {
  const real = origins.open
  origins.open = open
  return work().finally(() => (origins.open = real))
}

const deployImage = async (code: CodeSource): Promise<CodeOrigin | null> =>
  (await api.control.functions.create(admin, { name: `f${count++}`, code, config: { runtime: 'image' } })).version
    .codeOrigin

test('CodeSources: an image is asked for in full, with the credentials of the secret; its origin is its manifest', async () => {
  await withOrigin(
    playing(() => 'credentials'),
    async () => {
      await api.control.secrets.set(admin, 'registry', 'AWS:token:with:colons\n')
      const origin = await deployImage({ image: 'registry.example/team/app', secret: 'registry' })
      const reference = { registry: 'registry.example', repository: 'team/app', tag: 'latest', digest: null }
      const source = 'registry.example/team/app:latest'
      const credentials = { user: 'AWS', password: 'token:with:colons' }
      assert.deepEqual(asked, [{ kind: 'registry', source, reference, arch: 'x86_64', credentials }])
      const { fetchedAt: _fetchedAt, ...rest } = origin ?? { fetchedAt: 0 }
      const pinned = { kind: 'registry', source: `${source}@${etag}`, endpoint: null, etag, versionId: null }
      assert.deepEqual(rest, pinned)
      assert.ok(!JSON.stringify(api.logged).includes('token:with'))
    },
  )
})

test('CodeSources: many who ask for one image fetch it once, and later ones take what is here, in their own project alone', async () => {
  let read = 0
  await withOrigin(
    playing(() => `image ${(read += 1)}`),
    async () => {
      const image = 'registry.example/team/once:v1'
      // The manifest is that of the test before: what it stands for is here.
      const other: Caller = { ...admin, project: 'strangers' }
      await api.control.projects.create(admin, 'strangers')
      await Promise.all(Array.from({ length: 4 }, async () => deployImage({ image })))
      assert.equal(asked.length, 1)
      assert.equal(read, 0)
      const config = { runtime: 'image' }
      const { version } = await api.control.functions.create(other, { name: 'theirs', code: { image }, config })
      assert.deepEqual([asked.length, read], [2, 1])
      assert.equal(version.codeOrigin?.etag, etag)
    },
  )
})

test('CodeSources: images are for functions with runtime image; what goes beside them is named', async () => {
  const image = 'registry.example/team/app:v1'
  await refused({ image }, 'code.image', /must be left out, unless it is a function with runtime "image"/)
  const layer = { code: { image }, description: '', runtimes: [] }
  await assert.rejects(api.control.layers.publish(admin, 'tools', layer), { code: 'invalid', field: 'code.image' })
  await assert.rejects(deployImage({ image: 'A B' }), { code: 'invalid', field: 'code.image' })
  for (const secret of ['absent', 'malformed'])
    await assert.rejects(deployImage({ image, secret }), { code: 'invalid', field: 'code.secret' })
  assert.deepEqual(asked, [])
})
