import { DeleteObjectCommand, PutObjectCommand, type S3Client } from '@aws-sdk/client-s3'
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import type { IncomingMessage, ServerResponse } from 'node:http'
import https from 'node:https'
import type { AddressInfo } from 'node:net'
import path from 'node:path'
import { after, before, beforeEach, test } from 'node:test'
import type { CuttingProxy } from '../support/cutting-proxy.ts'
import { call, invoke, zipOf, type Reply } from '../support/functions.ts'
import { startPlatform, type Platform } from '../support/platform.ts'
import { openS3Rig, type S3Rig } from '../support/s3-rig.ts'
import { findS3Server, type S3Server } from '../support/s3-server.ts'

/* Code from an S3 server and from the web, with all that goes wrong on the way. The platform goes through a proxy that spoils answers. */

const found = await findS3Server()
const skip = 'missing' in found ? found.missing : false

const tlsFolder = path.resolve(import.meta.dirname, `../../build/test-tls-${process.pid}`)
let rig: S3Rig | undefined
let server: S3Server
let proxy: CuttingProxy
let client: S3Client
let platform: Platform

before(async () => {
  if ('missing' in found) return
  makeCertificate()
  const env = { NODE_EXTRA_CA_CERTS: path.join(tlsFolder, 'cert.pem') }
  rig = await openS3Rig(found.program, { buckets: ['code'], env })
  ;({ server, proxy, client, platform } = rig)
})
after(async () => {
  await rig?.stop()
  rmSync(tlsFolder, { recursive: true, force: true })
})
beforeEach(() => rig?.calm())

/** Readable where the platform's own mount namespace shows it: below the application. */
function makeCertificate(): void {
  mkdirSync(tlsFolder, { recursive: true })
  const names = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1']
  const files = ['-keyout', path.join(tlsFolder, 'key.pem'), '-out', path.join(tlsFolder, 'cert.pem')]
  execFileSync('openssl', ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', ...names, ...files], {
    stdio: 'ignore',
  })
}

/** A zip that answers `text`, padded so that it can be cut. */
const zipSaying = async (text: string, padding = 0): Promise<Buffer> =>
  zipOf({ 'index.js': `exports.handler = async () => ${JSON.stringify(text)}`, padding: randomBytes(padding) })

async function put(key: string, body: Buffer): Promise<string | undefined> {
  return (await client.send(new PutObjectCommand({ Bucket: 'code', Key: key, Body: body }))).VersionId
}

const create = async (name: string, code: Record<string, unknown>): Promise<Reply> =>
  call(platform, 'POST', '/v1/functions', { name, runtime: 'node', handler: 'index.handler', code })

const said = async (name: string): Promise<string> => (await invoke(platform, name)).json<string>()

const created = async (name: string, code: Record<string, unknown>): Promise<Record<string, unknown>> => {
  const reply = await create(name, code)
  assert.equal(reply.status, 201, reply.body.toString())
  return reply.json()
}

async function refused(
  reply: Promise<Reply>,
  status: number,
  field: string | undefined,
  message: RegExp,
): Promise<void> {
  const answer = await reply
  assert.equal(answer.status, status, answer.body.toString())
  const { error } = answer.json<{ error: { field?: string; message: string } }>()
  assert.equal(error.field, field)
  assert.match(error.message, message)
}

test(
  's3: fetched by the platform, pinned to a digest; what changes in the bucket changes nothing',
  { skip },
  async () => {
    const zip = await zipSaying('first')
    await put('pinned.zip', zip)
    const view = await created('pinned', { s3: 's3://code/pinned.zip' })
    const source = view['codeSource'] as Record<string, unknown>
    assert.deepEqual(
      [source['kind'], source['source'], source['endpoint'], view['codeDigest']],
      ['s3', 's3://code/pinned.zip', proxy.url, `sha256:${createHash('sha256').update(zip).digest('hex')}`],
    )
    assert.equal(source['etag'], `"${createHash('md5').update(zip).digest('hex')}"`)
    await put('pinned.zip', await zipSaying('second'))
    assert.equal(await said('pinned'), 'first')
    const { stdout, stderr, code } = await platform.cli([
      'function',
      'update',
      'pinned',
      '--code',
      's3://code/pinned.zip',
    ])
    assert.equal(code, 0, stderr)
    assert.match(stdout, /Updated pinned to version 2/)
    assert.equal(await said('pinned'), 'second')
    assert.match(
      (await platform.cli(['function', 'get', 'pinned'])).stdout,
      /from +s3:\/\/code\/pinned\.zip \(at http:/,
    )
    await client.send(new DeleteObjectCommand({ Bucket: 'code', Key: 'pinned.zip' }))
    const kept = await call(platform, 'PATCH', '/v1/functions/pinned', { memoryMib: 128 })
    assert.equal(kept.status, 200, kept.body.toString())
    assert.equal((kept.json()['codeSource'] as { source: string }).source, 's3://code/pinned.zip')
    assert.equal(await said('pinned'), 'second')
  },
)

test('s3: versionId takes that version, whatever came after', { skip }, async () => {
  const Bucket = 'versioned'
  await rig?.makeVersioned(Bucket)
  const old = await client.send(new PutObjectCommand({ Bucket, Key: 'v.zip', Body: await zipSaying('old') }))
  await client.send(new PutObjectCommand({ Bucket, Key: 'v.zip', Body: await zipSaying('new') }))
  const view = await created('of-version', { s3: `s3://versioned/v.zip?versionId=${old.VersionId}` })
  assert.equal((view['codeSource'] as { versionId: string }).versionId, old.VersionId)
  assert.equal(await said('of-version'), 'old')
})

test('s3: wrong credentials, absent secret, key, bucket and version are told apart', { skip }, async () => {
  await put('there.zip', await zipSaying('there'))
  await rig?.setSecret('wrong', { ...server.credentials, secretAccessKey: 'x'.repeat(40) })
  await rig?.setSecret('unknown', { accessKeyId: 'AKIAXXXXXXXXXXXXXXXX', secretAccessKey: 'x'.repeat(40) })
  const s3 = 's3://code/there.zip'
  await refused(
    create('no', { s3, secret: 'wrong' }),
    400,
    'code.s3',
    /refuses the credentials \(SignatureDoesNotMatch\)/,
  )
  await refused(
    create('no', { s3, secret: 'unknown' }),
    400,
    'code.s3',
    /refuses the credentials \(InvalidAccessKeyId\)/,
  )
  await refused(create('no', { s3, secret: 'absent' }), 400, 'code.secret', /"absent"/)
  await refused(create('no', { s3: 's3://code/absent.zip' }), 400, 'code.s3', /bucket "code" has no such object/)
  await refused(create('no', { s3: 's3://absent/a.zip' }), 400, 'code.s3', /there is no bucket "absent"/)
  await refused(create('no', { s3: 's3://code/../a.zip' }), 400, 'code.s3', /neither empty nor/)
  const wrong = { s3, sha256: '0'.repeat(64) }
  await refused(
    create('no', wrong),
    400,
    'code.sha256',
    /its bytes have digest "sha256:[0-9a-f]{64}", not "sha256:0000/,
  )
})

test('s3: a transfer that is cut goes on where it was, of the same object', { skip }, async () => {
  await put('cut.zip', await zipSaying('whole', 900_000))
  proxy.cuts = [300_000, 200_000]
  await created('cut', { s3: 's3://code/cut.zip' })
  assert.equal(await said('cut'), 'whole')
  assert.equal(proxy.ranges.length, 3)
  const [first, second, third] = proxy.ranges.map((range) => Number(/^bytes=(\d+)-$/.exec(range ?? '')?.[1] ?? 0))
  assert.equal(first, 0)
  assert.ok((second ?? 0) > 0 && (second ?? 0) < (third ?? 0), `from ${second}, then ${third}`)
})

test('s3: an object that changes between two parts is refused, never mixed', { skip }, async () => {
  await put('changing.zip', await zipSaying('before', 900_000))
  proxy.cuts = [300_000]
  proxy.onRequest = async (request) => {
    if (request.headers.range !== undefined) await put('changing.zip', await zipSaying('after', 900_000))
  }
  await refused(create('changing', { s3: 's3://code/changing.zip' }), 409, undefined, /it changed while it was read/)
  assert.deepEqual(readdirSync(path.join(platform.data, 'tmp')), [])
})

test('s3: one that is cut again and again is given up, and what is deployed runs on', { skip }, async () => {
  await put('broken.zip', await zipSaying('deployed', 100_000))
  await created('broken', { s3: 's3://code/broken.zip' })
  proxy.cuts = [50_000, ...Array.from({ length: 100 }, () => 0)]
  const update = call(platform, 'PATCH', '/v1/functions/broken', { code: { s3: 's3://code/broken.zip' } })
  await refused(
    update,
    503,
    undefined,
    /the connection was cut \(tried \d+ times in \d s, and \d+ of \d+ bytes came\)\. Versions that are deployed run on/,
  )
  assert.equal(await said('broken'), 'deployed')
})

test('s3: a storm of 503 is sat out; one that lasts is told', { skip }, async () => {
  await put('storm.zip', await zipSaying('calm'))
  proxy.storms = 3
  await created('storm', { s3: 's3://code/storm.zip' })
  assert.equal(await said('storm'), 'calm')
  proxy.storms = 1_000
  await refused(
    create('no', { s3: 's3://code/storm.zip' }),
    503,
    undefined,
    /the endpoint answers 503 \(tried \d+ times/,
  )
})

test('s3: many deploys of one object at once fetch it once', { skip }, async () => {
  await put('single.zip', await zipSaying('single', 200_000))
  const gate = Promise.withResolvers<void>()
  proxy.onRequest = async () => gate.promise
  const all = Array.from({ length: 6 }, async (_, n) => created(`single-${n}`, { s3: 's3://code/single.zip' }))
  setTimeout(gate.resolve, 300)
  await Promise.all(all)
  assert.equal(proxy.ranges.length, 1)
  assert.equal(await said('single-5'), 'single')
})

test('s3: an endpoint that a caller names needs a secret, https and an address of the internet', { skip }, async () => {
  const s3 = 's3://code/there.zip'
  await refused(create('no', { s3, endpoint: 'https://s3.example.com' }), 400, 'code.secret', /accessKeyId/)
  await refused(create('no', { s3, endpoint: server.url, secret: 's3' }), 400, 'code.s3', /is not https/)
  const metadata = { s3, endpoint: 'https://169.254.169.254', secret: 's3' }
  await refused(create('no', metadata), 400, 'code.s3', /169\.254\.169\.254 is not an address of the internet/)
  const named = { s3, endpoint: 'https://localhost:1', secret: 's3' }
  await refused(create('no', named), 400, 'code.s3', /localhost is not an address of the internet/)
})

test(
  'https: pinned by its hash, resumed by ranges, private addresses only where the operator allows them',
  { skip },
  async (t) => {
    const zip = await zipSaying('from the web', 400_000)
    let isCut = true
    const asked: (string | undefined)[] = []
    const tls = {
      key: readFileSync(path.join(tlsFolder, 'key.pem')),
      cert: readFileSync(path.join(tlsFolder, 'cert.pem')),
    }
    const web = https.createServer(tls, (request, response) => {
      if (request.url === '/moved.zip') response.writeHead(302, { location: '/code.zip?sig=1' }).end()
      else if (request.url === '/away.zip') response.writeHead(302, { location: 'http://localhost/a' }).end()
      else if (request.url?.startsWith('/code.zip') !== true) response.writeHead(404).end()
      else serve(request, response)
    })
    const serve = (request: IncomingMessage, response: ServerResponse): void => {
      asked.push(request.headers.range)
      const start = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0)
      const range = { 'content-range': `bytes ${start}-${zip.length - 1}/${zip.length}` }
      response.writeHead(start > 0 ? 206 : 200, {
        'content-length': zip.length - start,
        etag: '"web"',
        ...(start > 0 && range),
      })
      if (!isCut) {
        response.end(zip.subarray(start))
        return
      }
      isCut = false
      response.write(zip.subarray(0, 100_000), () => response.destroy())
    }
    await new Promise<void>((resolve) => web.listen(0, '127.0.0.1', resolve))
    t.after(() => web.close())
    const origin = `https://localhost:${(web.address() as AddressInfo).port}`
    const sha256 = createHash('sha256').update(zip).digest('hex')
    const closed = create('no', { https: `${origin}/code.zip`, sha256 })
    await refused(closed, 400, 'code.https', /localhost is not an address of the internet.*allowPrivateSources/)
    for (const host of ['127.0.0.1', '[::1]', '169.254.169.254'])
      await refused(
        create('no', { https: `https://${host}/`, sha256 }),
        400,
        'code.https',
        /is not an address of the inter/,
      )
    await refused(create('no', { https: `${origin}/code.zip` }), 400, 'code.sha256', /must be the hex SHA-256/)
    await refused(create('no', { https: 'https://a:b@example.com/', sha256 }), 400, 'code.https', /without a user name/)
    await refused(create('no', { https: 'http://example.com/', sha256 }), 400, 'code.https', /must be an https/)

    const env = { NODE_EXTRA_CA_CERTS: path.join(tlsFolder, 'cert.pem') }
    const open = await startPlatform({ flags: ['--allow-private-sources', '--source-retry-ms', '2000'], env })
    t.after(() => open.stop())
    const flags = ['--runtime', 'node', '--handler', 'index.handler', '--code', `${origin}/moved.zip`]
    const made = await open.cli(['function', 'create', '--name', 'web', ...flags, '--code-sha256', sha256])
    assert.equal(made.code, 0, made.stderr)
    assert.equal((await invoke(open, 'web')).json(), 'from the web')
    const view = (await call(open, 'GET', '/v1/functions/web')).json()
    assert.equal((view['codeSource'] as { source: string }).source, `${origin}/moved.zip`)
    assert.equal(asked.length, 2)
    assert.match(asked[1] ?? '', /^bytes=[1-9]\d*-$/)
    const update = async (where: string, digest = sha256): Promise<Reply> =>
      call(open, 'PATCH', '/v1/functions/web', { code: { https: `${origin}/${where}`, sha256: digest } })
    await refused(update('code.zip', '1'.repeat(64)), 400, 'code.sha256', /not "sha256:1111/)
    await refused(update('absent.zip'), 400, 'code.https', /the server answers 404/)
    await refused(update('away.zip'), 400, 'code.https', /it leads to http:/)
    web.closeAllConnections()
    await new Promise((resolve) => web.close(resolve))
    await refused(update('code.zip'), 503, undefined, /the connection is refused .*Versions that are deployed run on/)
    assert.equal((await invoke(open, 'web')).json(), 'from the web')
  },
)
