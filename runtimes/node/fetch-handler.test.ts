import assert from 'node:assert/strict'
import { before, describe, test } from 'node:test'
import { nodeHarness } from '../support/runtimes.ts'
import { Subject } from '../support/subject.ts'

const { start } = nodeHarness()

const web = `
export default {
  async fetch(request, env, ctx) {
    const url = new URL(request.url)
    if (url.pathname === '/stream') {
      let n = 0
      return new Response(new ReadableStream({ pull(c) { if (n < 4) c.enqueue(new TextEncoder().encode('part ' + n++ + ';')); else c.close() } }), { status: 202 })
    }
    if (url.pathname === '/broken') return new Response(new ReadableStream({ pull(c) { c.error(new TypeError('broke off')) } }))
    if (url.pathname === '/large') return new Response(Buffer.alloc(3_000_000, 'z'))
    if (url.pathname === '/none') return new Response(null, { status: 204 })
    if (url.pathname === '/text') return 'no response'
    ctx.waitUntil(Promise.resolve())
    const headers = new Headers({ 'x-method': request.method, 'x-query': url.search, 'x-type': request.headers.get('content-type') ?? '', 'x-env': env.GREETING })
    headers.append('set-cookie', 'a=1'); headers.append('set-cookie', 'b=2')
    return new Response(request.body === null ? 'nothing' : await request.text(), { status: 201, headers })
  },
}
`

describe('Node runtime: fetch handlers', () => {
  let subject: Subject
  before(async () => {
    subject = await start({ 'index.mjs': web }, 'index.default', { env: { GREETING: 'hello' } })
  })

  test('an HTTP event becomes the Request, the Response the answer', async () => {
    const event = {
      method: 'put',
      url: '/things?a=1',
      headers: { 'content-type': 'text/plain', host: 'shop.test' },
      body: 'text',
    }
    const answer = await subject.call(event)
    assert.equal(answer.head?.status, 201)
    const headers = new Map(answer.head.headers)
    assert.equal(headers.get('x-method'), 'PUT')
    assert.equal(headers.get('x-query'), '?a=1')
    assert.equal(headers.get('x-type'), 'text/plain')
    assert.equal(headers.get('x-env'), 'hello')
    assert.deepEqual(
      answer.head.headers.filter(([name]) => name === 'set-cookie').map(([, value]) => value),
      ['a=1', 'b=2'],
    )
    assert.equal(answer.body.toString(), 'text')
  })

  test('a Lambda URL event does too, with base64 body and cookies', async () => {
    const event = {
      version: '2.0',
      rawPath: '/p',
      rawQueryString: 'q=2',
      cookies: ['c=1'],
      headers: {},
      requestContext: { http: { method: 'POST', path: '/p' } },
      body: Buffer.from('encoded').toString('base64'),
      isBase64Encoded: true,
    }
    const answer = await subject.call(event)
    assert.equal(answer.body.toString(), 'encoded')
    assert.equal(new Map(answer.head?.headers).get('x-query'), '?q=2')
  })

  test('anything else is POST / with the payload as body', async () => {
    const answer = await subject.call({ some: 'event' })
    assert.equal(answer.body.toString(), '{"some":"event"}')
    assert.equal(new Map(answer.head?.headers).get('x-type'), 'application/json')
    assert.equal((await subject.call(Buffer.from('raw'), { contentType: 'text/csv' })).body.toString(), 'raw')
  })

  test('bodies stream, large ones by credit, none is none, a break is FAIL after HEAD', async () => {
    const get = (url: string) => subject.call({ method: 'GET', url })
    const streamed = await get('/stream')
    assert.deepEqual([streamed.head?.status, streamed.body.toString()], [202, 'part 0;part 1;part 2;part 3;'])
    assert.equal((await get('/large')).body.length, 3_000_000)
    assert.deepEqual([(await get('/none')).head?.status, (await get('/none')).body.length], [204, 0])
    assert.deepEqual((await get('/broken')).error?.errorType, 'TypeError')
    assert.deepEqual((await get('/text')).error?.errorType, 'Runtime.InvalidResponse')
  })

  test('index, index.fetch and a plain export fetch are found', async () => {
    for (const handler of ['index', 'index.fetch'])
      assert.equal(
        (await (await start({ 'index.mjs': web }, handler)).call({ method: 'GET', url: '/none' })).head?.status,
        204,
      )
    const plain = await start({ 'index.js': 'exports.fetch = async () => new Response("plain")' }, 'index.fetch')
    assert.equal((await plain.call()).body.toString(), 'plain')
  })
})
