import assert from 'node:assert/strict'
import { once } from 'node:events'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { after, before, test } from 'node:test'
import { rejects } from '../../test/support/rejects.ts'
import { systemClock as clock } from '../domain/clock.ts'
import type { ObjectServer } from '../domain/object-server.ts'
import { openObjectServer } from './s3-objects.ts'

/* Against a server that answers as each test says: what real ones do right is in test/e2e/s3-storage.test.ts. */

type Answer = (request: http.IncomingMessage, response: http.ServerResponse) => void
let answer: Answer
let server: http.Server
let objects: ObjectServer
let hasty: ObjectServer
const keys = { accessKeyId: 'AKIA', secretAccessKey: 'secret' }
const ref = { bucket: 'bucket', key: 'key', versionId: null }

before(async () => {
  server = http.createServer((request, response) => answer(request, response))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const waiting = (retryMs: number): ObjectServer => {
    const patience = { retryMs, stallMs: 1_000, totalMs: 1_000 }
    const opened = openObjectServer({ s3: { endpoint, region: 'us-east-1' }, patience, clock })
    assert.ok(opened !== null)
    return opened
  }
  objects = waiting(30_000)
  hasty = waiting(400)
})
after(() => {
  server.closeAllConnections()
  server.close()
})

const xml =
  (status: number, body: string): Answer =>
  (_request, response) =>
    void response.writeHead(status, { 'content-type': 'application/xml' }).end(`<?xml version="1.0"?>${body}`)

const listed = (inner: string): Answer =>
  xml(200, `<ListBucketResult><Name>bucket</Name><EncodingType>url</EncodingType>${inner}</ListBucketResult>`)
const entry = (key: string): string =>
  `<Contents><Key>${key}</Key><LastModified>2026-01-02T03:04:05.000Z</LastModified><ETag>"e"</ETag><Size>7</Size></Contents>`
const more = (token: string): string =>
  `<IsTruncated>true</IsTruncated><NextContinuationToken>${token}</NextContinuationToken>`

const list = async (cursor?: string, from = objects) =>
  from.list(keys, { bucket: 'bucket', prefix: 'p' }, { limit: 2, ...(cursor !== undefined && { cursor }) })

test('openObjectServer: there is none without an endpoint', () => {
  const patience = { retryMs: 1, stallMs: 1, totalMs: 1 }
  assert.equal(openObjectServer({ s3: { endpoint: null, region: 'x' }, patience, clock }), null)
})

test('ObjectServer.list: keys are decoded, pages that are empty are passed over, the cursor is the token', async () => {
  const asked: URLSearchParams[] = []
  answer = (request, response) => {
    const { searchParams } = new URL(request.url ?? '', 'http://x')
    asked.push(searchParams)
    const isFirst = searchParams.get('continuation-token') === null
    listed(isFirst ? more('t/1+') : entry('p/a+b%2Bc%1B%5B31m') + more('t2'))(request, response)
  }
  const { items, nextCursor } = await list()
  assert.equal(nextCursor, 't2')
  assert.deepEqual(items, [
    {
      ...{ bucket: 'bucket', key: 'p/a b+c\u001b[31m', versionId: null, digest: null, bytes: 7, etag: 'e' },
      createdAt: Date.UTC(2026, 0, 2, 3, 4, 5),
    },
  ])
  assert.deepEqual(
    asked.map((query) => [query.get('continuation-token'), query.get('prefix'), query.get('max-keys')]),
    [
      [null, 'p', '2'],
      ['t/1+', 'p', '2'],
    ],
  )
})

test('ObjectServer.list: what is no answer of S3, or more than one, is refused and not read to its end', async () => {
  answer = (_request, response) => void response.writeHead(200).end('<html><body>Welcome</body></html>')
  await rejects(list(), 'invalid', /Cannot list s3:\/\/bucket: the endpoint's answer is not S3's/)
  answer = listed(entry('a').replace(/<Size>.*<\/Size>/, ''))
  await rejects(list(), 'invalid', /there is no size in it/)
  let sent = 0
  answer = (_request, response) => {
    const piece = Buffer.alloc(2 ** 20, ' ')
    const write = (): void => {
      while (!response.destroyed && response.write(piece)) sent++
    }
    response.on('drain', write)
    write()
  }
  await rejects(list(), 'invalid', /the endpoint answers with more than 8388608 bytes/)
  assert.ok(sent < 32, `${sent} MiB`)
})

test("ObjectServer: the server's own words steer no terminal", async () => {
  answer = xml(400, '<Error><Code>Odd</Code><Message>one&#x1b;[31m\ntwo</Message></Error>')
  await rejects(list(), 'invalid', /the endpoint answers 400 \(Odd: one[^\p{Cc}]*two\)\. Check the address\.$/u)
})

test('ObjectServer.list: a cursor that the server does not know is the fault of the cursor', async () => {
  answer = xml(400, '<Error><Code>InvalidArgument</Code><Message>no such token</Message></Error>')
  await rejects(list('mine'), 'invalid', /Invalid cursor "mine"/)
})

test('ObjectServer: no answer, and one without end, are given up; to be tried again', async () => {
  let asked = 0
  answer = () => void asked++
  await rejects(list(undefined, hasty), 'capacity', /the endpoint does not answer\. Try again later/)
  assert.ok(asked > 1, 'a list is asked for again')
  answer = (_request, response) => {
    const timer = setInterval(() => response.write(' '), 20)
    response.on('close', () => clearInterval(timer))
  }
  await rejects(list(undefined, hasty), 'capacity', /the endpoint does not answer/)
  answer = xml(503, '<Error><Code>SlowDown</Code></Error>')
  const put = objects.put(keys, ref, { content: Readable.from(['x']), bytes: 1 })
  await rejects(put, 'capacity', /the endpoint answers 503/)
})

test('ObjectServer.versions: those of the very key; of a server that has none, the object', async () => {
  const version = (key: string, id: string): string =>
    `<Version>${entry(key).replaceAll(/<\/?Contents>/g, '')}<VersionId>${id}</VersionId></Version>`
  const all = version('key', 'v2') + version('key', 'bad id') + version('key1', 'v0')
  answer = xml(200, `<ListVersionsResult><Name>bucket</Name>${all}</ListVersionsResult>`)
  const found = await objects.versions(keys, ref)
  assert.deepEqual(
    found.map(({ key, versionId }) => [key, versionId]),
    [
      ['key', 'v2'],
      ['key', null],
    ],
  )
  answer = (_request, response) => void response.writeHead(404).end()
  await rejects(objects.stat(keys, ref), 'not_found', /there is no such object\. Check the bucket and the key/)
  await rejects(objects.open(keys, ref), 'not_found', /there is no such object/)
  let status = 200
  answer = (request, response) => {
    const facts = { 'content-length': '3', etag: '"e"', 'last-modified': new Date(5_000).toUTCString() }
    if (request.method === 'HEAD') response.writeHead(status, status === 200 ? facts : {}).end()
    else xml(501, '<Error><Code>NotImplemented</Code></Error>')(request, response)
  }
  const [only] = await objects.versions(keys, ref)
  assert.deepEqual([only?.bytes, only?.versionId, only?.createdAt], [3, null, 5_000])
  status = 404
  assert.deepEqual(await objects.versions(keys, ref), [])
})

test('ObjectServer.open: what is cut in the middle fails as such', async () => {
  answer = (_request, response) => {
    response.writeHead(200, { 'content-length': '10', etag: '"e"', 'last-modified': new Date(0).toUTCString() })
    response.write('half', () => setTimeout(() => response.destroy(), 20))
  }
  const { object, content } = await objects.open(keys, ref)
  assert.equal(object.bytes, 10)
  await rejects(text(content), 'capacity', /Cannot read s3:\/\/bucket\/key: the connection was cut/)
})

test('ObjectServer.put: bytes go as they come, and their digest is told', async () => {
  const got: string[] = []
  answer = (request, response) => {
    got.push(request.headers['content-length'] ?? '')
    request.on('data', (chunk: Buffer) => got.push(chunk.toString()))
    request.on('end', () => response.writeHead(200, { etag: '"tag"', 'x-amz-version-id': 'v1' }).end())
  }
  const { createdAt, ...stored } = await objects.put(keys, ref, { content: Readable.from(['ab', 'c']), bytes: 3 })
  assert.ok(Math.abs(createdAt - Date.now()) < 60_000)
  assert.deepEqual([got[0], got.slice(1).join('')], ['3', 'abc'])
  const digest = 'sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'
  assert.deepEqual(stored, { bucket: 'bucket', key: 'key', versionId: 'v1', digest, bytes: 3, etag: 'tag' })
})

test('ObjectServer.put: a source that breaks off cuts the request, and is not tried again', async () => {
  const cut = Promise.withResolvers<void>()
  let asked = 0
  answer = (request) => {
    asked++
    request.on('error', () => cut.resolve()).resume()
  }
  const content = new Readable({ read() {} })
  content.push('half')
  server.once('request', () => content.destroy(new Error('gone')))
  await rejects(
    objects.put(keys, ref, { content, bytes: 10 }),
    'invalid',
    /Cannot store s3:\/\/bucket\/key: the upload broke off before its end/,
  )
  await cut.promise
  assert.equal(asked, 1)
})

test('ObjectServer.put: what is refused leaves the rest of its source unread and open', async () => {
  answer = xml(404, '<Error><Code>NoSuchBucket</Code></Error>')
  const content = new Readable({ read() {} })
  content.push('first')
  const fix = /there is no bucket "bucket" at http:.*\. Make it there first/
  await rejects(objects.put(keys, ref, { content, bytes: 1_000 }), 'not_found', fix)
  assert.equal(content.destroyed, false)
  content.push('second')
  content.push(null)
  assert.match(await text(content), /second$/)
})

test('ObjectServer.put: a server that cuts what it refuses is asked why; names say more than numbers', async () => {
  const why = { status: 404, name: 'InvalidAccessKeyId' }
  answer = (request, response) => {
    if (request.method === 'PUT') request.once('data', () => request.socket.resetAndDestroy())
    else xml(why.status, `<Error><Code>${why.name}</Code></Error>`)(request, response)
  }
  const put = async () => objects.put(keys, ref, { content: Readable.from([Buffer.alloc(100_000)]), bytes: 1_000_000 })
  await rejects(put(), 'invalid', /Cannot store s3:\/\/bucket\/key: .* refuses the credentials \(InvalidAccessKeyId\)/)
  why.name = 'NoSuchUser'
  await rejects(put(), 'invalid', /the endpoint answers 404 \(NoSuchUser: /)
  why.name = 'NoSuchBucket'
  await rejects(put(), 'not_found', /there is no bucket "bucket"/)
  // Whoever may not list may well store.
  Object.assign(why, { status: 403, name: 'AccessDenied' })
  await rejects(put(), 'capacity', /Cannot store s3:\/\/bucket\/key: the connection was cut/)
})

test('ObjectServer.put: an answer before the end, or one that is not S3s, is no success', async () => {
  answer = (_request, response) => void response.writeHead(200, { etag: '"e"' }).end()
  const content = new Readable({ read() {} })
  content.push('half')
  await rejects(objects.put(keys, ref, { content, bytes: 10 }), 'capacity', /answered before it had all the bytes/)
  answer = (request, response) => void request.resume().on('end', () => response.end('<html/>'))
  const page = objects.put(keys, ref, { content: Readable.from(['x']), bytes: 1 })
  await rejects(page, 'invalid', /there is no ETag in it/)
})
