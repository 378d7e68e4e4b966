import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import http from 'node:http'
import type { Duplex } from 'node:stream'
import { after, before, test } from 'node:test'
import type { AccessKey } from '../../src/domain/project.ts'
import { call, deployFiles, nodeFunction } from '../support/functions.ts'
import { startPlatform, type Platform } from '../support/platform.ts'
import { until } from '../support/until.ts'
import { awsSigner, queryText, requestTo, send, type Got, type SignableRequest } from '../support/sigv4-client.ts'

/* Function URLs with auth aws_iam, on the real platform, called with AWS's own signer. */

const server = `
require('node:http').createServer((request, response) => {
  let bytes = 0
  request.on('data', (chunk) => { bytes += chunk.length })
  request.on('end', () => response.end(JSON.stringify({ bytes, url: request.url, authorization: request.headers.authorization ?? null })))
}).on('upgrade', (request, socket) => {
  socket.end('HTTP/1.1 101 Switching Protocols\\r\\nConnection: Upgrade\\r\\nUpgrade: websocket\\r\\n\\r\\nhello')
}).listen(process.env.PORT, '0.0.0.0')`

let platform: Platform
let port = 0
let host = ''
let own: AccessKey & { id: string }
let others: AccessKey
before(async () => {
  platform = await startPlatform()
  port = Number(new URL(platform.urlsUrl).port)
  host = `echo.localhost:${port}`
  await deployFiles(platform, nodeFunction('echo', 'exports.handler = async (event) => event'))
  await deployFiles(platform, nodeFunction('other', 'exports.handler = async () => 1'))
  const web = { ...nodeFunction('web', server, { contract: 'http', command: ['node', 'index.js'] }), handler: '' }
  await deployFiles(platform, web)
  for (const name of ['echo', 'other', 'web']) {
    const reply = await call(platform, 'PUT', `/v1/functions/${name}/url`, { auth: 'aws_iam' })
    assert.equal(reply.status, 200, reply.body.toString())
  }
  own = await accessKey(['invoke:echo', 'invoke:web'])
  others = await accessKey(['invoke:other'])
})
after(async () => platform.stop())

async function accessKey(scopes: readonly string[]): Promise<AccessKey & { id: string }> {
  const reply = await call(platform, 'POST', '/v1/keys', { name: 'signing', scopes, sigv4: true })
  const { key, accessKey } = reply.json<{ key: { id: string }; accessKey: AccessKey }>()
  return { ...accessKey, id: key.id }
}

async function signed(
  request: SignableRequest,
  key: AccessKey = own,
  signingDate = new Date(),
): Promise<SignableRequest> {
  return { ...request, ...(await awsSigner(key).sign(request, { signingDate })) } as SignableRequest
}

async function presigned(request: SignableRequest, expiresIn = 60, signingDate = new Date()): Promise<SignableRequest> {
  return { ...request, ...(await awsSigner(own).presign(request, { expiresIn, signingDate })) } as SignableRequest
}

const post = (body = '{"n":1}'): SignableRequest =>
  requestTo(host, {
    method: 'POST',
    path: '/a b%20/c',
    query: { x: ['2', '1'], 'y z': '\u{fc}&=+' },
    headers: { 'content-type': 'application/json' },
    body,
  })

/** As the wire has it: what is not allowed in a path is encoded. */
const wirePath = (request: SignableRequest): SignableRequest => ({ ...request, path: encodeURI(request.path) })

function assertRefused(got: Got, type: string, message: RegExp): void {
  assert.equal(got.status, 403, got.body.toString())
  assert.equal(got.headers['x-amzn-errortype'], type)
  assert.equal(got.headers['content-type'], 'application/json')
  assert.match(got.body.toString(), message)
}

const forbidden = /^\{"Message":"Forbidden"\}$/
const wrong = /^\{"message":"The request signature we calculated does not match the signature you provided\. Check/

test('signed in the header: the function gets the event, the identity as AWS gives it, and no signature', async () => {
  const got = await send(await signed(wirePath(post())), port)
  assert.equal(got.status, 200, got.body.toString())
  const event = got.json() as { headers: Record<string, string>; requestContext: Record<string, unknown>; body: string }
  assert.equal(event.body, '{"n":1}')
  assert.equal(event.headers['authorization'], undefined)
  const { accountId, authentication, authorizer } = event.requestContext
  assert.deepEqual([accountId, authentication], ['000000000000', null])
  assert.deepEqual(authorizer, {
    iam: {
      accessKey: own.accessKeyId,
      accountId: '000000000000',
      callerId: own.id,
      cognitoIdentity: null,
      principalOrgId: null,
      userArn: `arn:aws:iam::000000000000:user/default/${own.id}`,
      userId: own.id,
    },
  })
})

test('by path and without a stated hash: the path as it was sent is signed, the body by its bytes', async () => {
  const anyHost = { ...post().headers, host: `127.0.0.1:${port}` }
  const request = { ...wirePath(post()), headers: anyHost, path: '/fn/echo/x//y%2F' }
  const unstated = await awsSigner(own, { applyChecksum: false }).sign(request)
  assert.equal(unstated.headers['x-amz-content-sha256'], undefined)
  const got = await send(unstated, port)
  assert.deepEqual([got.status, got.json()['rawPath']], [200, '/x//y%2F'])
  assertRefused(await send({ ...unstated, body: '{"n":2}' }, port), 'InvalidSignatureException', wrong)
  // It means the same path to the signature, and another function here.
  const led = { ...unstated, path: '/fn/other/../echo/x//y%2F' }
  assertRefused(await send(led, port), 'InvalidSignatureException', /no '\.' or '\.\.'/)
})

test('presigned: anybody with the address, until it expires', async () => {
  const request = await presigned(requestTo(host, { path: '/p', query: { a: '1' } }))
  const got = await send(request, port)
  assert.equal(got.status, 200, got.body.toString())
  assert.deepEqual((got.json()['queryStringParameters'] as Record<string, string>)['a'], '1')
  const old = await presigned(requestTo(host), 60, new Date(Date.now() - 120_000))
  assertRefused(await send(old, port), 'InvalidSignatureException', /Signature expired: .* was good for 60 s/)
  const longer = { ...old, query: { ...old.query, 'X-Amz-Expires': '600' } }
  assertRefused(await send(longer, port), 'InvalidSignatureException', wrong)
})

test('UNSIGNED-PAYLOAD: the signer leaves the body open', async () => {
  const request = { ...wirePath(post()), headers: { ...post().headers, 'x-amz-content-sha256': 'UNSIGNED-PAYLOAD' } }
  const got = await send({ ...(await signed(request)), body: '{"n":3}' }, port)
  assert.deepEqual([got.status, got.json()['body']], [200, '{"n":3}'])
})

test('refused: what changed on the way, other secrets, times, regions and services, tokens, no signature', async () => {
  const request = await signed(wirePath(post()))
  for (const changed of [
    { ...request, body: '{"n":2}' },
    { ...request, path: '/a%20b%20/d' },
    { ...request, query: { ...request.query, x: ['1'] } },
    { ...request, method: 'PUT' },
    { ...request, headers: { ...request.headers, 'content-type': 'text/plain' } },
    { ...request, headers: { ...request.headers, host: `web.localhost:${port}` } },
    await signed(wirePath(post()), { ...own, secretAccessKey: others.secretAccessKey }),
    await signed(wirePath(post()), { ...own, accessKeyId: 'HEARTHAKABCDEFGHIJKL' }),
  ])
    assertRefused(await send(changed, port), 'InvalidSignatureException', wrong)
  const late = await signed(wirePath(post()), own, new Date(Date.now() - 6 * 60_000))
  assertRefused(await send(late, port), 'InvalidSignatureException', /Signature expired/)
  for (const options of [{ region: 'eu-west-1' }, { service: 's3' }])
    assertRefused(
      await send({ ...request, ...(await awsSigner(own, options).sign(wirePath(post()))) }, port),
      'InvalidSignatureException',
      /Credential should be scoped to/,
    )
  const token = await awsSigner({ ...own, sessionToken: 'session' }).sign(wirePath(post()))
  assertRefused(await send(token, port), 'UnrecognizedClientException', /security token .* have none/)
  const stranger = await signed(wirePath(post()), { ...own, accessKeyId: 'AKIAIOSFODNN7EXAMPLE' })
  assertRefused(await send(stranger, port), 'UnrecognizedClientException', /security token/)
  const unsigned = requestTo(host, { headers: { authorization: `Bearer ${platform.apiKey}` } })
  assertRefused(await send(unsigned, port), 'AccessDeniedException', forbidden)
})

test('which functions exist shows in nothing: the answers are the same where there is none', async () => {
  for (const make of [
    async (to: string) => requestTo(to),
    async (to: string) => signed(requestTo(to), others),
    async (to: string) => signed(requestTo(to), { ...others, secretAccessKey: 'x'.repeat(40) }),
    async (to: string) =>
      awsSigner({ ...others, secretAccessKey: 'x'.repeat(40) }, { applyChecksum: false }).sign(
        requestTo(to, { method: 'POST', body: 'x' }),
      ),
  ]) {
    const answers = await Promise.all(
      ['echo', 'absent'].map(async (name) => {
        const { status, headers, body } = await send(await make(`${name}.localhost:${port}`), port)
        const { date: _date, ...rest } = headers
        return { status, body: body.toString(), rest }
      }),
    )
    assert.deepEqual(answers[0], answers[1])
    assert.equal(answers[0]?.status, 403)
  }
})

test('a key is good for its function until it is revoked, and the audit log says who made it', async () => {
  const key = await accessKey(['invoke:echo'])
  assert.equal((await send(await signed(requestTo(host), key), port)).status, 200)
  assertRefused(await send(await signed(requestTo(host), others), port), 'AccessDeniedException', forbidden)
  assert.equal((await call(platform, 'DELETE', `/v1/keys/${key.id}`)).status, 200)
  assertRefused(await send(await signed(requestTo(host), key), port), 'UnrecognizedClientException', /security token/)
  const { items } = (await call(platform, 'GET', '/v1/audit')).json<{ items: { target: string; detail: unknown }[] }>()
  const detail = { name: 'signing', scopes: ['invoke:echo'], sigv4: true }
  assert.deepEqual(items.findLast(({ target }) => target === key.id)?.detail, detail)
})

test('contract http: a body is checked as it streams, or before where its hash is not stated', async () => {
  const body = Buffer.alloc(3_000_000, 'a')
  const request = requestTo(`web.localhost:${port}`, { method: 'PUT', path: '/up', body })
  const stated = await signed(request)
  assert.equal(stated.headers['x-amz-content-sha256'], createHash('sha256').update(body).digest('hex'))
  assert.deepEqual((await send(stated, port)).json(), { bytes: 3_000_000, url: '/up', authorization: null })
  const unstated = await awsSigner(own, { applyChecksum: false }).sign(request)
  assert.deepEqual((await send(unstated, port)).json(), { bytes: 3_000_000, url: '/up', authorization: null })
  const changed = Buffer.from(body)
  changed[2_999_999] = 0
  for (const sent of [stated, unstated])
    assertRefused(await send({ ...sent, body: changed }, port), 'InvalidSignatureException', wrong)
  // The refusal leaves before the invocation has ended.
  const ended = async (): Promise<true | string> => {
    const { items } = (await call(platform, 'GET', '/v1/functions/web/invocations')).json<{
      items: { outcome: string }[]
    }>()
    const outcomes = items
      .map(({ outcome }) => outcome)
      .toSorted()
      .join()
    return outcomes === 'cancelled,succeeded,succeeded' || outcomes
  }
  await until(ended, { what: 'two invocations to succeed and one to be cancelled' })
})

test('a WebSocket is presigned, as a browser must have it', async () => {
  const request = await presigned(requestTo(`web.localhost:${port}`, { path: '/ws' }))
  const upgrade = { connection: 'Upgrade', upgrade: 'websocket' }
  const sent = http.request({
    ...{ host: '127.0.0.1', port, agent: false },
    headers: { ...request.headers, ...upgrade },
    path: `/ws?${queryText(request.query)}`,
  })
  sent.end()
  const [, socket, first] = (await once(sent, 'upgrade')) as [unknown, Duplex, Buffer]
  assert.equal(Buffer.concat([first, ...((await socket.toArray()) as Buffer[])]).toString(), 'hello')
  const unsigned = await send(requestTo(`web.localhost:${port}`, { headers: upgrade }), port)
  assertRefused(unsigned, 'AccessDeniedException', forbidden)
})

test('CLI: key create --sigv4 prints an access key for an environment; url create --auth aws_iam takes it', async () => {
  const made = await platform.cli(['key', 'create', '--scope', 'invoke:echo', '--sigv4'])
  assert.equal(made.code, 0, made.stderr)
  const [, accessKeyId = '', secretAccessKey = ''] =
    /^AWS_ACCESS_KEY_ID=(HEARTHAK[A-Z0-9]{12})\nAWS_SECRET_ACCESS_KEY=([\w-]{40})\n$/.exec(made.stdout) ?? []
  assert.match((await platform.cli(['function', 'url', 'create', 'echo', '--auth', 'aws_iam'])).stderr, /auth aws_iam/)
  const got = await send(await signed(requestTo(host), { accessKeyId, secretAccessKey }), port)
  assert.equal(got.status, 200, got.body.toString())
})
