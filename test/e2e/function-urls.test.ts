import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readdir, readFile } from 'node:fs/promises'
import http from 'node:http'
import net from 'node:net'
import path from 'node:path'
import { after, before, test } from 'node:test'
import { call, deployFiles, nodeFunction } from '../support/functions.ts'
import { startPlatform, type Platform } from '../support/platform.ts'

/* Functions behind URLs of their own, on the real platform: hosts and paths, payload format 2.0, keys, CORS, streams, hostile requests. */

const echo = `exports.handler = async (event) => event`
const traced = `exports.handler = async (event, context) => [event.headers && event.headers['x-amzn-trace-id'], context.traceparent, process.env._X_AMZN_TRACE_ID]`
const tracedPython = `import os
def handler(event, context): return [event.get('headers', {}).get('x-amzn-trace-id'), context.traceparent, os.environ.get('_X_AMZN_TRACE_ID')]
`
const shapes = `exports.handler = async (event) => JSON.parse(event.body)`
const binary = `exports.handler = async (event) => ({
  statusCode: '201', isBase64Encoded: true, body: Buffer.from(event.body, 'base64').reverse().toString('base64'),
  headers: { 'Content-Type': 'application/octet-stream', 'Connection': 'X-Hop', 'X-Hop': '1', 'Access-Control-Allow-Origin': 'https://evil.example' },
  cookies: ['a=1; HttpOnly', 'b=2'] })`
const streaming = `
exports.handler = awslambda.streamifyResponse(async (event, out) => {
  out = awslambda.HttpResponseStream.from(out, { statusCode: 203, headers: { 'content-type': 'text/event-stream' }, cookies: ['s=1'] })
  for (let n = 0; n < 1000; n++) { out.write('data: ' + n + '\\n\\n'); await new Promise((r) => setTimeout(r, 100)); if (n === 2 && event.rawPath === '/short') break }
  out.end()
})`

let platform: Platform
let port = 0
before(async () => {
  platform = await startPlatform({ flags: ['--url-domain', 'fn.example.org'] })
  port = Number(new URL(platform.urlsUrl).port)
  await deployFiles(platform, nodeFunction('Echo_1', echo))
  await deployFiles(platform, nodeFunction('shapes', shapes))
  await deployFiles(platform, nodeFunction('traced', traced))
  const python = { runtime: 'python', handler: 'main.handler', files: { 'main.py': tracedPython } }
  await deployFiles(platform, { name: 'traced-python', ...python })
  await deployFiles(platform, nodeFunction('binary', binary))
  await deployFiles(platform, nodeFunction('streaming', streaming))
  await deployFiles(platform, nodeFunction('secret', echo))
  for (const name of ['Echo_1', 'shapes', 'traced', 'traced-python']) await put(name, { auth: 'none' })
  await put('binary', {
    auth: 'none',
    cors: { allowOrigins: ['https://app.example'], allowMethods: ['POST'], maxAgeSeconds: 60, exposeHeaders: ['x-a'] },
  })
  await put('streaming', { auth: 'none', mode: 'stream' })
  await put('secret', { auth: 'key' })
})
after(async () => platform.stop())

async function put(name: string, body: unknown): Promise<void> {
  const reply = await call(platform, 'PUT', `/v1/functions/${name}/url`, body)
  assert.equal(reply.status, 200, reply.body.toString())
}

interface Got {
  readonly reply: http.IncomingMessage
  readonly body: Buffer
  readonly json: () => Record<string, unknown>
}

async function ask(options: http.RequestOptions & { body?: string | Buffer }): Promise<Got> {
  const { body: sent, ...rest } = options
  const request = http.request({ host: '127.0.0.1', port, agent: false, ...rest })
  request.end(sent)
  const [reply] = (await once(request, 'response')) as [http.IncomingMessage]
  const chunks: Buffer[] = []
  for await (const chunk of reply) chunks.push(chunk as Buffer)
  const body = Buffer.concat(chunks)
  return { reply, body, json: () => JSON.parse(body.toString()) as Record<string, unknown> }
}

/** What the server says to bytes that no HTTP client would send. */
async function raw(text: string): Promise<string> {
  const socket = net.connect({ host: '127.0.0.1', port })
  socket.end(text)
  let got = ''
  for await (const chunk of socket) got += String(chunk)
  return got
}

test('by host: the event of payload format 2.0; names have no case in hosts', async () => {
  const { reply, json } = await ask({
    method: 'POST',
    path: '/a%2Fb/../c?x=1&x=2&y=%20z',
    headers: {
      host: `echo_1.localhost:${port}`,
      'content-type': 'application/json',
      cookie: 'one=1; two=2',
      'x-multi': ['a', 'b'],
      'user-agent': 'test',
      'x-forwarded-for': '6.6.6.6',
      te: 'trailers',
    },
    body: '{"n":1}',
  })
  assert.equal(reply.statusCode, 200)
  assert.equal(reply.headers['content-type'], 'application/json')
  const event = json() as { headers: Record<string, string>; requestContext: Record<string, unknown> } & Record<
    string,
    unknown
  >
  assert.deepEqual(
    [
      event['version'],
      event['routeKey'],
      event['rawPath'],
      event['rawQueryString'],
      event['body'],
      event['isBase64Encoded'],
    ],
    ['2.0', '$default', '/a%2Fb/../c', 'x=1&x=2&y=%20z', '{"n":1}', false],
  )
  assert.deepEqual(event['cookies'], ['one=1', 'two=2'])
  assert.deepEqual(event['queryStringParameters'], { x: '1,2', y: ' z' })
  assert.equal(event.headers['x-multi'], 'a,b')
  assert.equal(event.headers['cookie'], undefined)
  assert.equal(event.headers['te'], undefined)
  assert.equal(event.headers['x-forwarded-for'], '127.0.0.1')
  assert.equal(event.headers['x-forwarded-proto'], 'http')
  assert.match(event.headers['x-amzn-trace-id'] ?? '', /^Root=1-[0-9a-f]{8}-[0-9a-f]{24}$/)
  const context = event.requestContext
  assert.deepEqual([context['accountId'], context['apiId'], context['stage']], ['anonymous', 'echo_1', '$default'])
  assert.match(String(context['time']), /^\d\d\/[A-Z][a-z]{2}\/\d{4}:\d\d:\d\d:\d\d \+0000$/)
  assert.deepEqual(context['http'], {
    method: 'POST',
    path: '/a%2Fb/../c',
    protocol: 'HTTP/1.1',
    sourceIp: '127.0.0.1',
    userAgent: 'test',
  })
  assert.match(String(reply.headers['x-amzn-requestid']), /^[0-9a-f-]{36}$/)
  assert.equal(context['requestId'], reply.headers['x-amzn-requestid'])
})

for (const name of ['traced', 'traced-python'])
  test(`${name}: a trace that a client names is that of the function, in the event and in what its runtime is told`, async () => {
    const sent = 'Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1'
    const { json } = await ask({ path: `/fn/${name}/`, headers: { 'x-amzn-trace-id': sent } })
    const traceparent = '00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01'
    assert.deepEqual(json(), ['Root=1-5759e988-bd862e3fe1be46a994272793', traceparent, sent])
    // The next invocation of the same Instance belongs to none.
    const next = await call(platform, 'POST', `/v1/functions/${name}/invoke`, {})
    assert.equal(next.headers.get('hearth-start'), 'warm')
    assert.deepEqual(next.json(), [null, null, null])
  })

test('by path and by the configured domain: the same function; the prefix is not in its path', async () => {
  const byPath = (await ask({ path: '/fn/Echo_1/x/y?q=1' })).json() as { headers: Record<string, string> }
  assert.deepEqual(
    [(byPath as Record<string, unknown>)['rawPath'], byPath.headers['x-forwarded-prefix']],
    ['/x/y', '/fn/Echo_1'],
  )
  assert.equal((await ask({ path: '/fn/Echo_1?q=1' })).json()['rawQueryString'], 'q=1')
  const byDomain = await ask({ path: '/z', headers: { host: 'echo_1.fn.example.org' } })
  assert.equal(byDomain.json()['rawPath'], '/z')
})

for (const [title, sent, status, type, body] of [
  ['a string', '"plain"', 200, 'application/json', 'plain'],
  ['an object', '{"a": 1}', 200, 'application/json', '{"a":1}'],
  ['a status as text', '{"statusCode":"404","body":"no"}', 404, 'application/json', 'no'],
  [
    'a type of its own',
    '{"statusCode":200,"headers":{"content-type":"text/html"},"body":"<p>"}',
    200,
    'text/html',
    '<p>',
  ],
  ['no body', '{"statusCode":204}', 204, 'application/json', ''],
  ['a status that is none', '{"statusCode":"abc"}', 502, 'text/plain', 'Internal Server Error'],
  ['a body that is no text', '{"statusCode":200,"body":{"a":1}}', 502, 'text/plain', 'Internal Server Error'],
  [
    'a header that HTTP cannot carry',
    '{"statusCode":200,"headers":{"x":"a\\r\\nb: c"}}',
    502,
    'text/plain',
    'Internal Server Error',
  ],
  ['an error', 'not json', 502, 'text/plain', 'Internal Server Error'],
] as const)
  test(`a result that is ${title}`, async () => {
    const got = await ask({
      method: 'POST',
      path: '/fn/shapes/',
      headers: { 'content-type': 'text/plain' },
      body: sent,
    })
    assert.deepEqual(
      [got.reply.statusCode, got.reply.headers['content-type'], got.body.toString()],
      [status, type, body],
    )
  })

test('why a result is no response, and what a handler threw, is in the log of the function', async () => {
  const log = await call(platform, 'GET', '/v1/functions/shapes/logs?tail=200')
  const text = log.body.toString()
  for (const why of [
    'statusCode "abc" is no whole number from 200 to 599.',
    'body is an object and must be a text: JSON.stringify it.',
    'headers["x"] cannot be a header of HTTP',
    'Error: SyntaxError: ',
    '    at JSON.parse',
  ])
    assert.ok(text.includes(JSON.stringify(why).slice(1, -1)), `${why} in\n${text}`)
})

test('a timeout of a handler is a 502: AWS does not tell it from an error', async () => {
  const forever = 'exports.handler = () => new Promise((resolve) => setTimeout(resolve, 60_000))'
  await deployFiles(platform, nodeFunction('forever', forever, { timeoutMs: 1_000 }))
  await put('forever', { auth: 'none' })
  const got = await ask({ headers: { host: 'forever.localhost' } })
  assert.deepEqual([got.reply.statusCode, got.body.toString()], [502, 'Internal Server Error'])
})

test('binary bodies both ways, cookies one header each, hop-by-hop headers left out, CORS of the configuration', async () => {
  const bytes = Buffer.from([0, 255, 1, 254])
  const got = await ask({
    method: 'POST',
    headers: { host: 'binary.localhost', origin: 'https://app.example', 'content-type': 'image/png' },
    body: bytes,
  })
  assert.equal(got.reply.statusCode, 201)
  assert.deepEqual(got.body, Buffer.from([254, 1, 255, 0]))
  assert.deepEqual(got.reply.headers['set-cookie'], ['a=1; HttpOnly', 'b=2'])
  assert.equal(got.reply.headers['x-hop'], undefined)
  assert.equal(got.reply.headers['access-control-allow-origin'], 'https://app.example')
  assert.equal(got.reply.headers['access-control-expose-headers'], 'x-a')
  const other = await ask({
    method: 'POST',
    headers: { host: 'binary.localhost', origin: 'https://evil.example' },
    body: '',
  })
  assert.equal(other.reply.headers['access-control-allow-origin'], undefined)
})

test('a preflight is answered by the configuration', async () => {
  const headers = { host: 'binary.localhost', origin: 'https://app.example', 'access-control-request-method': 'POST' }
  const got = await ask({ method: 'OPTIONS', headers })
  assert.equal(got.reply.statusCode, 200)
  assert.equal(got.reply.headers['access-control-allow-methods'], 'POST')
  assert.equal(got.reply.headers['access-control-max-age'], '60')
  assert.equal(got.reply.headers['x-amzn-requestid'], undefined)
})

test('mode stream: events come as they are written, and a client that leaves cancels', async () => {
  const request = http.request({ host: '127.0.0.1', port, path: '/', headers: { host: 'streaming.localhost' } })
  request.end()
  const [reply] = (await once(request, 'response')) as [http.IncomingMessage]
  assert.deepEqual(
    [reply.statusCode, reply.headers['content-type'], reply.headers['set-cookie']],
    [203, 'text/event-stream', ['s=1']],
  )
  await once(reply, 'data')
  request.destroy()
  const whole = await ask({ path: '/short', headers: { host: 'streaming.localhost' } })
  assert.equal(whole.body.toString(), 'data: 0\n\ndata: 1\n\ndata: 2\n\n')
  const { items } = (await call(platform, 'GET', '/v1/functions/streaming/invocations')).json<{
    items: { outcome: string }[]
  }>()
  assert.ok(
    items.some(({ outcome }) => outcome === 'cancelled'),
    JSON.stringify(items.map(({ outcome }) => outcome)),
  )
})

test('auth key: no key 401, a key without the scope 403, with it the function, which never sees the key', async () => {
  const host = 'secret.localhost'
  assert.equal((await ask({ headers: { host } })).reply.statusCode, 401)
  const keyOf = async (scopes: string[]): Promise<string> =>
    String((await call(platform, 'POST', '/v1/keys', { name: 'k', scopes })).json()['token'])
  const other = await ask({ headers: { host, authorization: `Bearer ${await keyOf(['invoke:shapes'])}` } })
  assert.equal(other.reply.statusCode, 403)
  const own = await ask({ headers: { host, authorization: `Bearer ${await keyOf(['invoke:secret'])}` } })
  assert.equal(own.reply.statusCode, 200)
  assert.ok(!own.body.toString().includes('hth_'))
})

test('what is no URL of a function is 403, as a signed URL is to who may not call it', async () => {
  for (const options of [
    { path: '/' },
    { path: '/fn/absent/' },
    { headers: { host: 'absent.localhost' } },
    { path: '/v1/functions' },
  ]) {
    const got = await ask(options)
    assert.deepEqual([got.reply.statusCode, got.body.toString()], [403, '{"Message":"Forbidden"}'])
    assert.equal(got.reply.headers['x-amzn-errortype'], 'AccessDeniedException')
  }
})

test('hostile requests: two lengths, two hosts, no path, no host, headers without end', async () => {
  const line = 'POST /fn/shapes/ HTTP/1.1\r\n'
  for (const text of [
    `${line}host: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n`,
    `${line}host: x\r\nhost: echo_1.localhost\r\ncontent-length: 0\r\n\r\n`,
    `${line}content-length: 0\r\n\r\n`,
    'GET http:///x HTTP/1.1\r\nhost: shapes.localhost\r\n\r\n',
    'GET http://me@shapes.localhost/ HTTP/1.1\r\nhost: shapes.localhost\r\n\r\n',
    'GET ftp://shapes.localhost/ HTTP/1.1\r\nhost: shapes.localhost\r\n\r\n',
    'GET http://shapes.localhost/ HTTP/1.1\r\n\r\n',
  ])
    assert.match(await raw(text), /^HTTP\/1\.1 400 /, text)
  assert.match(await raw(`${line}host: x\r\n${'x-a: b\r\n'.repeat(4_000)}\r\n`), /^HTTP\/1\.1 431 /)
  const large = await ask({ method: 'POST', path: '/fn/shapes/', headers: { 'content-length': 7 * 2 ** 20 } })
  assert.equal(large.reply.statusCode, 413)
})

test('a Hono app behind a function URL', async () => {
  const entry = `import { Hono } from 'hono'
    const app = new Hono()
    app.get('/hello/:name', (c) => c.json({ hello: c.req.param('name'), q: c.req.query('q') }))
    app.post('/form', async (c) => { const f = await c.req.formData(); return c.text(String(f.get('a')), 202) })
    export default { fetch: app.fetch }`
  const root = path.resolve(import.meta.dirname, '../../node_modules/hono')
  const files: Record<string, string> = { 'index.mjs': entry }
  for (const name of await readdir(root, { recursive: true }))
    if (/^(package\.json|dist\/(?!cjs|types).*\.js)$/.test(name))
      files[`node_modules/hono/${name}`] = await readFile(path.join(root, name), 'utf8')
  await deployFiles(platform, { name: 'hono', runtime: 'node', handler: 'index.default', files })
  await put('hono', { auth: 'none' })
  const got = await ask({ path: '/hello/w%C3%B6rld?q=1', headers: { host: 'hono.localhost' } })
  assert.deepEqual(got.json(), { hello: 'w\u{f6}rld', q: '1' })
  const headers = { host: 'hono.localhost', 'content-type': 'application/x-www-form-urlencoded' }
  const form = await ask({ method: 'POST', path: '/form', headers, body: 'a=b%20c' })
  assert.deepEqual([form.reply.statusCode, form.body.toString()], [202, 'b c'])
  assert.equal((await ask({ path: '/none', headers: { host: 'hono.localhost' } })).reply.statusCode, 404)
})

test('CLI: create, get, list, delete; an auth that there is not is refused; audit; a deleted function has no URL', async () => {
  const created = await platform.cli(['function', 'url', 'create', 'shapes', '--auth', 'none', '--cors-origin', '*'])
  assert.equal(created.code, 0, created.stderr)
  assert.equal(created.stdout.trim(), `http://shapes.fn.example.org:${port}/`)
  const refused = await platform.cli(['function', 'url', 'create', 'shapes', '--auth', 'jwt'])
  assert.equal(refused.code, 2)
  assert.match(refused.stderr, /Invalid --auth "jwt": must be one of none, key, aws_iam/)
  assert.match((await platform.cli(['function', 'url', 'get', 'shapes'])).stdout, /cors\s+\*/)
  assert.match((await platform.cli(['function', 'url', 'list'])).stdout, /shapes\s+none\s+buffered/)
  assert.equal((await platform.cli(['function', 'url', 'delete', 'shapes'])).code, 0)
  assert.equal((await ask({ path: '/fn/shapes/' })).reply.statusCode, 403)
  assert.match((await platform.cli(['audit', 'log'])).stdout, /url\.delete/)
  await put('shapes', { auth: 'none' })
  await call(platform, 'DELETE', '/v1/functions/shapes')
  assert.equal((await ask({ path: '/fn/shapes/' })).reply.statusCode, 403)
  await deployFiles(platform, nodeFunction('shapes', shapes))
  assert.equal((await ask({ path: '/fn/shapes/' })).reply.statusCode, 403)
  assert.match(await readFile(path.join(platform.data, 'server.json'), 'utf8'), /"urlsUrl":"http:/)
})

test('CLI: what is not given stays as it was', async () => {
  const create = async (...flags: string[]): Promise<Record<string, unknown>> => {
    const { code, stdout, stderr } = await platform.cli(['function', 'url', 'create', 'shapes', '--json', ...flags])
    assert.equal(code, 0, stderr)
    const { auth, mode, qualifier, cors } = JSON.parse(stdout) as Record<string, unknown>
    return { auth, mode, qualifier, cors }
  }
  const cors = {
    allowOrigins: ['https://a.example'],
    allowMethods: ['GET', 'PUT'],
    allowHeaders: ['x-a'],
    exposeHeaders: ['x-b'],
    maxAgeSeconds: 60,
    allowCredentials: true,
  }
  const lists = ['--cors-method', 'GET', '--cors-method', 'PUT', '--cors-header', 'x-a', '--cors-expose', 'x-b']
  const asked = ['--cors-origin', 'https://a.example', ...lists, '--cors-max-age', '60', '--cors-credentials']
  const made = { auth: 'none', mode: 'buffered', qualifier: '1', cors }
  assert.deepEqual(await create('--auth', 'none', '--qualifier', '1', ...asked), made)
  assert.deepEqual(await create(), made)
  assert.deepEqual(await create('--mode', 'stream'), { ...made, mode: 'stream' })
  const changed = { ...cors, allowMethods: ['*'], allowCredentials: false }
  const now = await create('--cors-method', '*', '--no-cors-credentials', '--qualifier', '$LATEST')
  assert.deepEqual(now, { auth: 'none', mode: 'stream', qualifier: null, cors: changed })
  assert.deepEqual(await create('--no-cors', '--auth', 'key'), { ...now, auth: 'key', cors: null })
  for (const flags of [
    ['--cors-method', 'GET'],
    ['--no-cors', '--cors-origin', '*'],
    ['--cors-credentials', '--no-cors-credentials'],
  ])
    assert.equal((await platform.cli(['function', 'url', 'create', 'shapes', ...flags])).code, 2, flags.join(' '))
})

test('names that differ in case alone: a path means the one it says, and their host is given out once', async () => {
  for (const name of ['case-up', 'Case-UP'])
    await deployFiles(platform, nodeFunction(name, `exports.handler = async () => '${name}'`))
  const made = await call(platform, 'PUT', '/v1/functions/Case-UP/url', { auth: 'none' })
  assert.equal(made.json()['pathUrl'], `http://fn.example.org:${port}/fn/Case-UP/`)
  assert.equal(made.json()['url'], `http://case-up.fn.example.org:${port}/`)
  assert.equal((await ask({ path: '/fn/Case-UP/' })).body.toString(), 'Case-UP')
  assert.equal((await ask({ path: '/', headers: { host: 'CASE-up.localhost' } })).body.toString(), 'Case-UP')
  for (const path of ['/fn/case-up/', '/fn/CASE-UP/']) assert.equal((await ask({ path })).reply.statusCode, 403)
  const refused = await call(platform, 'PUT', '/v1/functions/case-up/url', { auth: 'none' })
  assert.equal(refused.status, 409)
  assert.match(refused.body.toString(), /"case-up\\" cannot have a URL beside \\"Case-UP\\": their hosts would be one/)
  assert.equal((await call(platform, 'PUT', '/v1/functions/Case-UP/url', { auth: 'key' })).status, 200)
  assert.equal((await call(platform, 'DELETE', '/v1/functions/Case-UP/url')).status, 204)
  assert.equal((await call(platform, 'PUT', '/v1/functions/case-up/url', { auth: 'none' })).status, 200)
  assert.equal((await ask({ path: '/fn/case-up/' })).body.toString(), 'case-up')
})

test('a name that reads like another project is refused a URL', async () => {
  await deployFiles(platform, nodeFunction('shop--team', 'exports.handler = async () => 1'))
  const reply = await call(platform, 'PUT', '/v1/functions/shop--team/url', { auth: 'none' })
  assert.equal(reply.status, 400, reply.body.toString())
  assert.match(reply.body.toString(), /another project/)
})
