import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import net from 'node:net'
import { after, before, beforeEach, test } from 'node:test'
import { limits } from '../../src/domain/limits.ts'
import { call, deployFiles } from '../support/functions.ts'
import { startScripted, type ApiInProcess } from '../support/in-process.ts'
import { attemptResult, echo, type ScriptedAgent } from '../support/scripted-agent.ts'

/* How the server behaves towards clients that are slow, half gone, impatient or hostile: raw sockets, byte by byte. */

let api: ApiInProcess<ScriptedAgent>
before(async () => {
  api = await startScripted()
  await deployFiles(api, { name: 'fn', runtime: 'node', handler: 'index.handler', files: { 'index.js': '//' } })
})
after(async () => api.close())
beforeEach(() => {
  api.agent.script = echo
})

class Client {
  readonly socket: net.Socket
  received = ''
  isClosed = false
  #wake: () => void = () => {}

  constructor(allowHalfOpen = true, url = api.url) {
    this.socket = net.connect({ port: Number(new URL(url).port), host: '127.0.0.1', allowHalfOpen })
    this.socket.on('data', (chunk: Buffer) => {
      this.received += chunk.toString('latin1')
      this.#wake()
    })
    this.socket.on('close', () => {
      this.isClosed = true
      this.#wake()
    })
    // A reset after a refusal is the server's right.
    this.socket.on('error', () => {})
  }

  say(text: string | Buffer): this {
    this.socket.write(text)
    return this
  }

  async until(holds: (client: Client) => boolean, what: string): Promise<void> {
    const timer = setTimeout(() => this.socket.destroy(new Error(what)), 60_000)
    while (!holds(this)) {
      if (this.isClosed) assert.fail(`closed before ${what}: ${this.received.slice(0, 500)}`)
      await new Promise<void>((resolve) => (this.#wake = resolve))
    }
    clearTimeout(timer)
  }

  get statuses(): readonly number[] {
    return [...this.received.matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, status]) => Number(status))
  }

  async answers(count: number): Promise<readonly number[]> {
    await this.until(({ statuses }) => statuses.length >= count, `${count} answers`)
    return this.statuses
  }

  async closed(): Promise<void> {
    if (!this.isClosed) await once(this.socket, 'close')
  }
}

/** Of its one answer, whose length is said. */
function bodyOf({ received }: Client): unknown {
  const [head = '', body = ''] = received.split('\r\n\r\n')
  assert.equal(Number(/content-length: (\d+)/i.exec(head)?.[1]), body.length)
  return JSON.parse(body)
}

function request(body: string, extra = ''): string {
  return `POST /v1/functions/fn/invoke HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${api.apiKey}\r\nContent-Length: ${Buffer.byteLength(body)}\r\n${extra}\r\n${body}`
}

test('a client that sends byte by byte is answered', async () => {
  const client = new Client()
  for (const byte of request('{"slow":true}')) {
    client.say(byte)
    if (byte === '\n') await new Promise((resolve) => setImmediate(resolve))
  }
  await client.until(({ received }) => received.includes('{"slow":true}'), 'the echo')
  client.socket.destroy()
})

test('a client that ends its side is gone: nobody can tell the two apart, so its invocation is cancelled', async () => {
  const cancelled = Promise.withResolvers<string>()
  const started = Promise.withResolvers<void>()
  api.agent.script = () => {
    started.resolve()
    return { onCancel: cancelled.resolve }
  }
  const client = new Client().say(request('{}'))
  await started.promise
  client.socket.end()
  assert.match(await cancelled.promise, /client closed/)
  await client.closed()
  assert.equal(client.received, '')
})

test('pipelined requests are answered in order, refused ones among them, on one connection', async () => {
  const client = new Client()
  const bad = 'POST /v1/functions/fn/invoke HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}'
  client.say(request('{"n":1}') + bad + request('not json') + request('{"n":2}'))
  assert.deepEqual(await client.answers(4), [200, 401, 400, 200])
  assert.ok(client.received.indexOf('{"n":1}') < client.received.indexOf('{"n":2}'))
  assert.equal(client.isClosed, false)
  client.socket.destroy()
})

test('headers over 16 KiB are 431 and the connection closes; the server goes on', async () => {
  const client = new Client(false)
  client.say(`GET /healthz HTTP/1.1\r\nHost: x\r\nX-Long: ${'y'.repeat(17 * 1024)}\r\n\r\n`)
  assert.deepEqual(await client.answers(1), [431])
  await client.closed()
  assert.deepEqual(bodyOf(client), {
    error: {
      code: 'invalid',
      message: 'The request line and headers are larger than 16 KiB together.',
      field: 'headers',
      allowed: 'at most 16 KiB',
      retryable: false,
    },
  })
  assert.equal((await call(api, 'GET', '/healthz')).status, 200)
})

test('what is no HTTP is refused in the form of every other error', async () => {
  const head = 'POST /v1/functions/fn/invoke HTTP/1.1\r\nHost: x\r\n'
  const twoLengths = `${head}Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}`
  for (const text of ['HELO\r\n\r\n', '\x16\x03\x01\x00\xa5\x01', twoLengths]) {
    const client = new Client(false)
    client.say(text)
    assert.deepEqual(await client.answers(1), [400])
    await client.closed()
    const { error } = bodyOf(client) as { error: Record<string, unknown> }
    assert.match(String(error['message']), /^This is no HTTP\/1\.1 request: .+\.$/)
    assert.deepEqual({ ...error, message: '' }, { code: 'invalid', message: '', retryable: false })
  }
})

test('an expectation other than 100-continue is 417, and says so', async () => {
  const client = new Client(false)
  client.say(request('{}', 'Expect: the-moon\r\n'))
  assert.deepEqual(await client.answers(1), [417])
  await client.closed()
  assert.match(client.received, /"field":"Expect","value":"the-moon","allowed":"100-continue"/)
})

test('a path in absolute form is the path', async () => {
  const client = new Client()
  client.say(request('{"n":1}').replace('POST /', 'POST http://hearth.example/'))
  assert.deepEqual(await client.answers(1), [200])
  client.socket.destroy()
})

test('a body announced over the limit is 413 without being read; the connection goes on when the rest is small enough to drop', async () => {
  const client = new Client()
  const over = limits.payloadBytesMax + 1
  const head = request('').replace('Content-Length: 0', `Content-Length: ${over}`)
  client.say(head)
  assert.deepEqual(await client.answers(1), [413])
  client.say(Buffer.alloc(over, 0x20)).say(request('{"after":true}'))
  assert.deepEqual(await client.answers(2), [413, 200])
  client.socket.destroy()
})

test('an upload that is refused unread is dropped for who has a key, so that the answer is read; for others the connection closes', async () => {
  const bytes = 20 * 1024 * 1024
  const put = (extra: string): string =>
    `PUT /v1/artifacts/short HTTP/1.1\r\nHost: x\r\nContent-Type: application/zip\r\nContent-Length: ${bytes}\r\n${extra}\r\n`
  const client = new Client()
  client.say(put(`Authorization: Bearer ${api.apiKey}\r\n`))
  assert.deepEqual(await client.answers(1), [400])
  client.say(Buffer.alloc(bytes)).say(request('{"after":true}'))
  assert.deepEqual(await client.answers(2), [400, 200])
  client.socket.destroy()
  const stranger = new Client(false)
  stranger.say(put(''))
  assert.deepEqual(await stranger.answers(1), [401])
  assert.match(stranger.received, /connection: close/i)
  await stranger.closed()
})

test('a chunked body that grows over the limit is 413, and the connection closes after the answer', async () => {
  const client = new Client()
  const head = request('').replace('Content-Length: 0', 'Transfer-Encoding: chunked')
  client.say(head)
  const chunk = Buffer.concat([Buffer.from('100000\r\n'), Buffer.alloc(0x100000, 0x20), Buffer.from('\r\n')])
  for (let mib = 0; mib < 7; mib++) client.say(chunk)
  assert.deepEqual(await client.answers(1), [413])
  assert.match(client.received, /connection: close/i)
  client.socket.destroy()
})

test('a client that goes away while its function runs cancels it; one that goes away while sending starts nothing', async () => {
  const cancelled = Promise.withResolvers<string>()
  const started = Promise.withResolvers<void>()
  api.agent.script = (_request, receive) => {
    started.resolve()
    return {
      onCancel: (reason) => {
        cancelled.resolve(reason)
        receive({ type: 'result', result: attemptResult({ outcome: 'cancelled', effect: 'may_have_committed' }) })
      },
    }
  }
  const client = new Client().say(request('{}'))
  await started.promise
  client.socket.destroy()
  assert.match(await cancelled.promise, /client closed/)
  const before = api.agent.requests.length
  const half = new Client().say(request('{"whole":true}').slice(0, -5))
  await once(half.socket, 'connect')
  half.socket.destroy()
  await new Promise((resolve) => setTimeout(resolve, 50))
  assert.equal(api.agent.requests.length, before)
})

test('after a refusal the connection is kept: 400, 401, 403, 404, then a good call', async () => {
  const client = new Client()
  const made = await call(api, 'POST', '/v1/keys', { name: 'narrow', scopes: ['invoke:other'] })
  const { token } = made.json<{ token: string }>()
  const good = request('{}')
  client.say(request('{'))
  await client.answers(1)
  client.say(good.replace(api.apiKey, 'hth_no'))
  await client.answers(2)
  client.say(good.replace(api.apiKey, token))
  await client.answers(3)
  client.say(good.replace('/fn/', '/absent/'))
  await client.answers(4)
  client.say(good)
  assert.deepEqual(await client.answers(5), [400, 401, 403, 404, 200])
  client.socket.destroy()
})

test('an upload by who has a key may take as long as it moves; any other body, and one of a stranger, has its time in all', async (t) => {
  const slow = await startScripted(undefined, { bodyTimes: { sweepMs: 50, totalMs: 800, stallMs: 700 } })
  t.after(() => slow.close())
  const send = async (line: string, what: { key?: string; bytes?: number; sent?: number }): Promise<Client> => {
    const { key = slow.apiKey, bytes = 15, sent = 100 } = what
    const client = new Client(false, slow.url)
    const type = line.startsWith('PUT') ? 'application/octet-stream' : 'application/json'
    client.say(`${line} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${key}\r\n`)
    client.say(`Content-Type: ${type}\r\nContent-Length: ${bytes}\r\n\r\n`)
    for (let n = 0; n < Math.min(bytes, sent) && !client.isClosed; n++) {
      client.say('x')
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
    return client
  }
  const digest = createHash('sha256').update('x'.repeat(15)).digest('hex')
  const upload = await send(`PUT /v1/artifacts/${digest}`, {})
  assert.deepEqual(await upload.answers(1), [201])
  upload.socket.destroy()
  const stalled = await send(`PUT /v1/artifacts/${digest}`, { sent: 2 })
  assert.deepEqual(await stalled.answers(1), [408])
  await stalled.closed()
  const json = await send('POST /v1/functions', { bytes: 100 })
  assert.deepEqual(await json.answers(1), [408])
  await json.closed()
  // It has its answer at once, and no more time than others to stop.
  const stranger = await send(`PUT /v1/artifacts/${digest}`, { key: 'hth_no', bytes: 100 })
  await stranger.closed()
  assert.deepEqual(stranger.statuses, [401])
})
