import { HeadObjectCommand, PutObjectCommand, type S3Client } from '@aws-sdk/client-s3'
import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import http from 'node:http'
import os from 'node:os'
import path from 'node:path'
import { after, before, beforeEach, test } from 'node:test'
import type { CuttingProxy } from '../support/cutting-proxy.ts'
import { call, invoke, zipOf, type Reply } from '../support/functions.ts'
import type { Platform } from '../support/platform.ts'
import { openS3Rig, type S3Rig } from '../support/s3-rig.ts'
import { findS3Server, type S3Server } from '../support/s3-server.ts'
import { until } from '../support/until.ts'

/* hearth storage and its routes with a real S3 server set: in order, from an empty server to one that is gone. */

const found = await findS3Server()
const skip = 'missing' in found ? found.missing : false

const folder = mkdtempSync(path.join(os.tmpdir(), 'hearth-s3-storage-'))
let rig: S3Rig | undefined
let server: S3Server
let proxy: CuttingProxy
let client: S3Client
let platform: Platform

before(async () => {
  if ('missing' in found) return
  rig = await openS3Rig(found.program, { buckets: ['plain'] })
  ;({ server, proxy, client, platform } = rig)
  await rig.makeVersioned('versioned')
})
after(async () => {
  rmSync(folder, { recursive: true, force: true })
  await rig?.stop()
})
beforeEach(() => rig?.calm())

const file = (name: string, content: string | Buffer): string => {
  writeFileSync(path.join(folder, name), content)
  return path.join(folder, name)
}
const digestOf = (bytes: Buffer): string => `sha256:${createHash('sha256').update(bytes).digest('hex')}`
const cli = async (...args: string[]): Promise<string> => {
  const { stdout, stderr, code } = await platform.cli(['storage', ...args])
  assert.equal(code, 0, stderr)
  return stdout
}
const api = async (method: string, where: string, body?: Buffer): Promise<Reply> =>
  call(platform, method, `/v1/storage${where}`, body)

async function cliFails(args: readonly string[], code: number, message: RegExp): Promise<void> {
  const failed = await platform.cli(['storage', ...args])
  assert.equal(failed.code, code, failed.stderr)
  assert.match(failed.stderr, message)
}

/** What an upload leaves on the platform's own disk. */
function leftHere(): string[] {
  return ['tmp', 'blobs'].flatMap((name) =>
    readdirSync(path.join(platform.data, name), { recursive: true, withFileTypes: true })
      .filter((each) => each.isFile())
      .map((each) => each.name),
  )
}

const atServer = async (Key: string): Promise<boolean> =>
  client.send(new HeadObjectCommand({ Bucket: 'plain', Key })).then(
    () => true,
    () => false,
  )

test('storage at a server: put, ls, get and rm by the command line, content intact', { skip }, async () => {
  const content = randomBytes(3_000_000)
  const source = file('photo.bin', content)
  assert.match(await cli('put', source, 's3://plain/2026/'), /Stored s3:\/\/plain\/2026\/photo\.bin \(2\.9 MiB\)\.\n$/)
  assert.deepEqual(leftHere(), [])
  assert.ok(await atServer('2026/photo.bin'))
  assert.match(await cli('ls'), /s3:\/\/plain .*\ns3:\/\/versioned /)
  assert.match(await cli('ls', 's3://plain/2026'), /2026\/photo\.bin {2}2\.9 MiB {2}- {8}- {7}20/)
  const target = path.join(folder, 'back.bin')
  await cli('get', 's3://plain/2026/photo.bin', target)
  assert.ok(readFileSync(target).equals(content))
  await call(platform, 'PUT', '/v1/storage/plain/note', Buffer.from('to stdout'))
  assert.equal(await cli('get', 's3://plain/note', '-'), 'to stdout')
  await cli('rm', 's3://plain/2026/photo.bin')
  assert.ok(!(await atServer('2026/photo.bin')))
  await cliFails(['rm', 's3://plain/2026/photo.bin'], 4, /Cannot delete s3:\/\/plain\/2026.*there is no such object/)
  const gone = await api('GET', '/plain/2026/photo.bin')
  assert.equal(gone.status, 404)
  assert.match(gone.body.toString(), /bucket \\"plain\\" has no such object/)
  const { items } = (await call(platform, 'GET', '/v1/audit?limit=10')).json<{ items: Record<string, string>[] }>()
  const address = 's3://plain/2026/photo.bin'
  const acts = items.filter((entry) => entry['target'] === address).map(({ action }) => action)
  assert.deepEqual(acts, ['object.delete', 'object.put'])
})

test("storage at a server: what it does not say is null; a put's digest is known", { skip }, async () => {
  const content = Buffer.from('<script>')
  const put = await api('PUT', '/plain/facts/a%20b%2B', content)
  assert.equal(put.status, 201, put.body.toString())
  const { createdAt, ...facts } = put.json()
  assert.ok(Math.abs(Number(createdAt) - Date.now()) < 60_000)
  const etag = createHash('md5').update(content).digest('hex')
  const expected = { bucket: 'plain', key: 'facts/a b+', versionId: null, bytes: 8, etag }
  assert.deepEqual(facts, { ...expected, digest: digestOf(content) })
  const { items } = (await api('GET', '/plain?prefix=facts/')).json<{ items: Record<string, unknown>[] }>()
  assert.deepEqual(items, [{ ...expected, digest: null, createdAt: items[0]?.['createdAt'] }])
  for (const method of ['HEAD', 'GET']) {
    const { status, headers, body } = await api(method, '/plain/facts/a%20b%2B')
    assert.equal(status, 200)
    assert.deepEqual(
      ['content-length', 'etag', 'hearth-version-id', 'content-type'].map((name) => headers.get(name)),
      ['8', `"${etag}"`, null, 'application/octet-stream'],
    )
    assert.equal(body.toString(), method === 'HEAD' ? '' : '<script>')
  }
})

test('storage at a server: its versions are listed, fetched and deleted one by one', { skip }, async () => {
  const first = (await api('PUT', '/versioned/v', Buffer.from('one'))).json<{ versionId: string }>()
  await api('PUT', '/versioned/v', Buffer.from('two'))
  await api('PUT', '/versioned/v-other', Buffer.from('x'))
  assert.equal((await api('GET', `/versioned/v?versionId=${first.versionId}`)).body.toString(), 'one')
  assert.equal((await cli('ls', 's3://versioned/v', '--versions')).trim().split('\n').length, 3)
  await cli('rm', `s3://versioned/v?versionId=${first.versionId}`)
  assert.equal((await api('GET', `/versioned/v?versionId=${first.versionId}`)).status, 404)
  assert.equal((await api('DELETE', '/versioned/v')).status, 204)
  assert.equal((await api('GET', '/versioned/v')).status, 404)
  // The server keeps what it keeps.
  const kept = await call(platform, 'GET', '/v1/storage-versions/versioned/v')
  assert.equal(kept.json<{ items: unknown[] }>().items.length, 1)
})

test('storage at a server: lists are paged; keys that are none here steer no terminal', { skip }, async () => {
  for (const Key of ['page/a', 'page/b\u001b[31m', 'page/c/'])
    await client.send(new PutObjectCommand({ Bucket: 'plain', Key, Body: 'x' }))
  const keys: unknown[] = []
  let cursor: string | null = ''
  do {
    const where: string = cursor === '' ? '' : `&cursor=${encodeURIComponent(cursor)}`
    const page = (await api('GET', `/plain?prefix=page/&limit=2${where}`)).json<{
      items: { key: string }[]
      nextCursor: string | null
    }>()
    keys.push(page.items.map(({ key }) => key))
    cursor = page.nextCursor
  } while (cursor !== null)
  assert.deepEqual(keys, [['page/a', 'page/b\u001b[31m'], ['page/c/']])
  const { stdout, stderr } = await platform.cli(['storage', 'ls', 's3://plain/page', '--limit', '2'])
  assert.match(stdout, /page\/b\\u001b\[31m +1 B/)
  assert.ok(!stdout.includes('\u001b') && !stdout.includes('page/c'), stdout)
  assert.match(stderr, /There are more than these 2/)
})

test('storage at a server: wrong bucket and wrong credentials are told, and nothing is made', { skip }, async () => {
  const note = file('note.txt', 'a note')
  const fix = /there is no bucket "absent" at http.*Make it there first/
  await cliFails(['put', note, 's3://absent/note.txt'], 4, fix)
  assert.equal((await api('GET', '/absent')).status, 404)
  assert.doesNotMatch((await api('GET', '')).body.toString(), /absent/)
  const large = await api('PUT', '/absent/large', randomBytes(4_000_000))
  assert.equal(large.status, 404, large.body.toString())
  await rig?.setSecret('s3', { ...server.credentials, secretAccessKey: 'x'.repeat(40) })
  await cliFails(['ls'], 2, /refuses the credentials \(SignatureDoesNotMatch\)/)
  const denied = await api('PUT', '/plain/wrong.txt', Buffer.from('x'))
  assert.deepEqual([denied.status, denied.json<{ error: { field: string } }>().error.field], [400, 's3Secret'])
  assert.equal((await call(platform, 'DELETE', '/v1/secrets/s3')).status, 204)
  assert.match((await api('GET', '')).body.toString(), /must be the name of a secret of this project/)
  await rig?.setSecret('s3', server.credentials)
  assert.ok(!(await atServer('wrong.txt')))
})

/** A put of which `sent` bytes go out; with `bytes` as its length, or none. */
function putting(where: string, { bytes, sent }: { bytes: number | null; sent: Buffer }): http.ClientRequest {
  const request = http.request(`${platform.url}/v1/storage${where}`, {
    method: 'PUT',
    headers: { authorization: `Bearer ${platform.apiKey}`, ...(bytes !== null && { 'content-length': bytes }) },
  })
  request.write(sent)
  return request
}

test('storage at a server: an upload that does not say its length arrives whole', { skip }, async () => {
  const content = randomBytes(300_000)
  const request = putting('/plain/chunked', { bytes: null, sent: content })
  request.end()
  const [reply] = (await once(request, 'response')) as [http.IncomingMessage]
  assert.equal(reply.statusCode, 201)
  reply.resume()
  assert.ok((await api('GET', '/plain/chunked')).body.equals(content))
  assert.deepEqual(leftHere(), [])
})

test('storage at a server: a put that breaks off leaves no object and no file', { skip }, async () => {
  for (const bytes of [8_000_000, null]) {
    const ended = Promise.withResolvers<void>()
    const begun = Promise.withResolvers<void>()
    proxy.onRequest = async (request) => {
      if (request.method !== 'PUT') return
      begun.resolve()
      request.once('close', () => ended.resolve())
    }
    const request = putting('/plain/half', { bytes, sent: randomBytes(3_000_000) })
    request.on('error', () => {})
    if (bytes === null) await until(() => leftHere().length > 0 || 'no file', { what: 'the draft' })
    else await begun.promise
    request.destroy()
    if (bytes !== null) await ended.promise
    await until(() => leftHere().length === 0 || leftHere().join(' '), { what: 'no file' })
    assert.ok(!(await atServer('half')))
  }
  assert.ok(!platform.output().includes('http.request.failed'), platform.output())
})

test('storage at a server: a function is deployed from what was put', { skip }, async () => {
  const zip = await zipOf({ 'index.js': 'exports.handler = async () => "from the server"' })
  assert.equal((await api('PUT', '/plain/f.zip', zip)).status, 201)
  const made = ['--name', 'f', '--runtime', 'node', '--handler', 'index.handler', '--code', 's3://plain/f.zip']
  const { stderr, code } = await platform.cli(['function', 'create', ...made])
  assert.equal(code, 0, stderr)
  assert.equal((await invoke(platform, 'f')).body.toString(), '"from the server"')
})

test('storage at a server: a busy one is asked again; one that is cut or gone is told of', { skip }, async () => {
  proxy.storms = 1
  assert.equal((await api('GET', '/plain?limit=1')).status, 200)
  await api('PUT', '/plain/cut', randomBytes(500_000))
  proxy.cuts = [100_000]
  const target = path.join(folder, 'cut')
  await cliFails(['get', 's3://plain/cut', target], 2, /Cannot bring s3:\/\/plain\/cut/)
  assert.ok(!existsSync(target))
  await proxy.stop()
  const note = file('note.txt', 'a note')
  await cliFails(
    ['put', note, 's3://plain/late'],
    6,
    /Cannot store s3:\/\/plain\/late: the connection is refused\. Try/,
  )
  const down = await api('GET', '/plain/cut')
  assert.deepEqual([down.status, down.headers.get('retry-after')], [503, '30'])
  assert.equal(down.json<{ error: { retryable: boolean } }>().error.retryable, true)
  assert.equal((await invoke(platform, 'f')).body.toString(), '"from the server"')
})
