import assert from 'node:assert/strict'
import { once } from 'node:events'
import http from 'node:http'
import net from 'node:net'
import { after, before, test } from 'node:test'
import {
  requestWindowBytes,
  type Agent,
  type ExecuteDown,
  type ExecuteRequest,
  type ExecuteUp,
} from '../../src/domain/agent.ts'
import { call, deployFiles, nodeFunction } from '../support/functions.ts'
import { startScripted, type ApiInProcess } from '../support/in-process.ts'
import { attemptResult, type ScriptedAgent } from '../support/scripted-agent.ts'
import { until } from '../support/until.ts'

/* Straight proxying to functions that are HTTP servers: what the agent is told, and what becomes of what it says, byte by byte. */

type Receive = (frame: ExecuteUp) => void
type Serve = (request: ExecuteRequest, receive: Receive) => (frame: ExecuteDown) => void

let api: ApiInProcess<ScriptedAgent>
let serve: Serve
before(async () => {
  api = await startScripted()
  const execute: Agent['execute'] = (request, receive) => ({ send: serve(request, receive) })
  api.agent.execute = execute
  const config = { contract: 'http', command: ['node', 'server.js'] }
  await deployFiles(api, { ...nodeFunction('web', '//', config), handler: '' })
  await call(api, 'PUT', '/v1/functions/web/url', { auth: 'none' })
})
after(async () => api.close())

const started = { type: 'started', instance: 'i-1', start: 'warm', coldCause: null } as const
const done = { type: 'result', result: attemptResult() } as const

async function ask(options: http.RequestOptions): Promise<http.ClientRequest> {
  return http.request({ host: '127.0.0.1', port: api.urlsPort, agent: false, ...options })
}

test('the request goes on as it came, without what belongs to the connection; the reply too', async () => {
  let seen: ExecuteRequest['http']
  serve = (request, receive) => {
    seen = request.http
    queueMicrotask(() => receive(started))
    return (frame) => {
      if (frame.type === 'data' && frame.last) answer(receive)
    }
  }
  const answer = (receive: Receive): void => {
    receive({
      type: 'head',
      status: 418,
      headers: [
        ['X-Own', '1'],
        ['Connection', 'x-hop'],
        ['x-hop', '1'],
        ['set-cookie', 'a=1'],
        ['set-cookie', 'b=2'],
        ['content-length', '2'],
      ],
    })
    receive({ type: 'data', chunk: Buffer.from('ok') })
    receive(done)
  }
  const request = await ask({
    path: '/fn/web/a/../%2e?b=c&b',
    headers: {
      Connection: 'X-Gone',
      'X-Gone': '1',
      'X-Kept': 'yes',
      'X-Forwarded-For': '6.6.6.6',
      'Transfer-Encoding': 'chunked',
    },
  })
  request.end()
  const [reply] = (await once(request, 'response')) as [http.IncomingMessage]
  assert.deepEqual([reply.statusCode, reply.headers['x-own'], reply.headers['x-hop']], [418, '1', undefined])
  assert.deepEqual([reply.headers['set-cookie'], reply.headers['content-length']], [['a=1', 'b=2'], '2'])
  const names = Object.fromEntries(seen?.headers ?? [])
  assert.deepEqual([seen?.method, seen?.target], ['GET', '/a/../%2e?b=c&b'])
  assert.deepEqual(
    [
      names['X-Kept'],
      names['X-Gone'],
      names['Transfer-Encoding'],
      names['x-forwarded-for'],
      names['x-forwarded-prefix'],
    ],
    ['yes', undefined, undefined, '127.0.0.1', '/fn/web'],
  )
})

for (const [title, length, sent] of [
  ['more', '2', 'okay'],
  ['less', '9', 'okay'],
] as const)
  test(`a reply with ${title} bytes than its Content-Length is cut`, async () => {
    serve = (_request, receive) => () => {
      receive(started)
      receive({ type: 'head', status: 200, headers: [['content-length', length]] })
      receive({ type: 'data', chunk: Buffer.from(sent) })
      receive(done)
    }
    const request = await ask({ path: '/fn/web/' })
    request.end()
    const whole = async (): Promise<unknown> => {
      const [reply] = (await once(request, 'response')) as [http.IncomingMessage]
      return reply.toArray()
    }
    await assert.rejects(whole(), /aborted|hang up/)
  })

for (const [status, expected] of [
  [304, '12'],
  [204, undefined],
] as const)
  test(`a ${status} with a Content-Length is whole without a body, and the connection serves on`, async () => {
    serve = (_request, receive) => () => {
      receive(started)
      receive({ type: 'head', status, headers: [['content-length', '12']] })
      receive(done)
    }
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
    try {
      const ports = new Set<number | undefined>()
      for (let n = 0; n < 2; n++) {
        const request = await ask({ path: '/fn/web/', agent })
        request.end()
        const [reply] = (await once(request, 'response')) as [http.IncomingMessage]
        ports.add(reply.socket.localPort)
        assert.deepEqual([reply.statusCode, reply.headers['content-length']], [status, expected])
        assert.equal((await reply.toArray()).length, 0)
      }
      assert.equal(ports.size, 1)
    } finally {
      agent.destroy()
    }
  })

test('absolute form: its authority is the host, whatever Host says; the function sees a path', async () => {
  let seen: ExecuteRequest['http']
  serve = (request, receive) => {
    seen = request.http
    return () => {
      receive(started)
      receive({ type: 'head', status: 200, headers: [['content-length', '0']] })
      receive(done)
    }
  }
  for (const [target, path] of [
    ['http://web.localhost/x?y=http://z', '/x?y=http://z'],
    ['HTTP://WEB.localhost:81?q', '/?q'],
  ] as const) {
    const socket = net.connect({ port: api.urlsPort, host: '127.0.0.1' })
    socket.write(`GET ${target} HTTP/1.1\r\nhost: other.localhost\r\nconnection: close\r\n\r\n`)
    assert.match(Buffer.concat((await socket.toArray()) as Buffer[]).toString(), /^HTTP\/1\.1 200 OK/)
    const hosts = seen?.headers.filter(([name]) => /host$/.test(name)).map(([, value]) => value)
    const authority = target.split(/[/?]+/)[1]
    assert.deepEqual([seen?.target, hosts], [path, [authority, authority]])
  }
})

test('failures carry the CORS headers of the URL and the id of the invocation', async () => {
  const cors = { allowOrigins: ['https://app.example'] }
  assert.equal((await call(api, 'PUT', '/v1/functions/web/url', { auth: 'none', cors })).status, 200)
  const answerOf = async (
    { data, ...result }: { outcome?: 'crashed'; data?: unknown },
    { headers = {}, ...options }: { method?: string; headers?: Record<string, string> } = {},
  ) => {
    serve = (_request, receive) => (frame) => {
      if (frame.type !== 'data' || !frame.last) return
      receive(started)
      if (data !== undefined) receive({ type: 'data', chunk: Buffer.from(JSON.stringify(data)) })
      receive({ type: 'result', result: attemptResult(result) })
    }
    const request = await ask({
      path: '/fn/web/',
      ...options,
      headers: { origin: 'https://app.example', ...headers },
    })
    request.end()
    const [reply] = (await once(request, 'response')) as [http.IncomingMessage]
    reply.resume()
    return [
      `${reply.statusCode} ${reply.statusMessage}`,
      reply.headers['access-control-allow-origin'],
      typeof reply.headers['x-amzn-requestid'],
    ]
  }
  try {
    const allowed = 'https://app.example'
    assert.deepEqual(await answerOf({ outcome: 'crashed' }), ['502 Bad Gateway', allowed, 'string'])
    const unspeakable = { statusCode: 200, headers: { 'x-bad': 'line\nbreak' }, body: 'x' }
    assert.deepEqual(await answerOf({ data: unspeakable }), ['502 Bad Gateway', allowed, 'string'])
    const large = { method: 'POST', headers: { 'content-length': String(2 ** 40) } }
    assert.deepEqual(await answerOf({}, large), ['413 Payload Too Large', allowed, 'undefined'])
  } finally {
    await call(api, 'PUT', '/v1/functions/web/url', { auth: 'none' })
  }
})

test('a large body is handed on a window at a time, as it is taken', async () => {
  const bytes = 8 * 2 ** 20
  let got = 0
  let aheadBytesMax = 0
  let ahead = 0
  serve = (_request, receive) => {
    queueMicrotask(() => receive(started))
    return (frame) => {
      if (frame.type !== 'data') return
      got += frame.chunk.length
      ahead += frame.chunk.length
      aheadBytesMax = Math.max(aheadBytesMax, ahead)
      if (frame.last) {
        receive({ type: 'head', status: 200, headers: [] })
        receive(done)
      } else if (ahead >= requestWindowBytes)
        setImmediate(() => {
          const taken = ahead
          ahead = 0
          receive({ type: 'credit', bytes: taken })
        })
    }
  }
  const request = await ask({ method: 'PUT', path: '/fn/web/' })
  request.end(Buffer.alloc(bytes))
  const [reply] = (await once(request, 'response')) as [http.IncomingMessage]
  assert.equal(reply.statusCode, 200)
  assert.equal(got, bytes)
  assert.ok(aheadBytesMax < 2 * requestWindowBytes, `${aheadBytesMax} bytes ahead`)
})

test('a server that answers without the body: its client gets to the end of what it sends, and asks again over the same connection', async () => {
  let asked = 0
  serve = (_request, receive) => {
    const isFirst = asked++ === 0
    const answer = (): void => {
      receive({ type: 'head', status: isFirst ? 401 : 200, headers: [] })
      receive(done)
    }
    queueMicrotask(() => {
      receive(started)
      if (!isFirst) answer()
    })
    // Credit for what came is never given.
    return (frame) => {
      if (isFirst && frame.type === 'data') answer()
    }
  }
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
  const request = http.request({ host: '127.0.0.1', port: api.urlsPort, agent, method: 'PUT', path: '/fn/web/' })
  request.end(Buffer.alloc(24 * 2 ** 20))
  const sent = once(request, 'finish')
  const [reply] = (await once(request, 'response')) as [http.IncomingMessage]
  reply.resume()
  await Promise.all([sent, once(reply, 'end')])
  const { socket } = request
  const next = http.get({ host: '127.0.0.1', port: api.urlsPort, agent, path: '/fn/web/' })
  const [second] = (await once(next, 'response')) as [http.IncomingMessage]
  second.resume()
  assert.deepEqual([reply.statusCode, second.statusCode, next.socket === socket], [401, 200, true])
  agent.destroy()
})

test('101: raw bytes both ways until a side ends; a function that does not switch answers as usual', async () => {
  serve = (request, receive) => {
    assert.deepEqual(
      request.http?.headers.filter(([name]) => /^(connection|upgrade)$/i.test(name)),
      [
        ['connection', 'Upgrade'],
        ['upgrade', 'websocket'],
      ],
    )
    if (request.http.target === '/no')
      queueMicrotask(() => {
        receive(started)
        receive({ type: 'head', status: 426, headers: [] })
        receive({ type: 'data', chunk: Buffer.from('no') })
        receive(done)
      })
    else
      queueMicrotask(() => {
        receive(started)
        receive({
          type: 'head',
          status: 101,
          headers: [
            ['Upgrade', 'websocket'],
            ['Sec-WebSocket-Accept', 'x'],
          ],
        })
      })
    return (frame) => {
      if (frame.type !== 'data') return
      if (frame.last) receive(done)
      else receive({ type: 'data', chunk: Buffer.from(String(Buffer.from(frame.chunk)).toUpperCase()) })
    }
  }
  const upgrade = (path: string): net.Socket => {
    const socket = net.connect({ port: api.urlsPort, host: '127.0.0.1' })
    socket.write(`GET ${path} HTTP/1.1\r\nhost: web.localhost\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n`)
    return socket
  }
  const socket = upgrade('/yes')
  let text = ''
  socket.on('data', (chunk: Buffer) => {
    text += chunk.toString()
    if (text.endsWith('\r\n\r\n')) socket.write('hello')
    if (text.endsWith('HELLO')) socket.end()
  })
  await once(socket, 'close')
  assert.match(text, /^HTTP\/1\.1 101 Switching Protocols\r\n[^]*Sec-WebSocket-Accept: x\r\n\r\nHELLO$/)
  const refused = await upgrade('/no').toArray()
  assert.match(Buffer.concat(refused as Buffer[]).toString(), /^HTTP\/1\.1 426 [^]*no/)
})

test('requests to URLs and to the API share what may be held; URLs leave half of it', async () => {
  const small = await startScripted(undefined, { heldBytes: 100_000 })
  try {
    await deployFiles(small, nodeFunction('event', '//'))
    await call(small, 'PUT', '/v1/functions/event/url', { auth: 'none' })
    const post = { host: '127.0.0.1', port: small.urlsPort, agent: false, method: 'POST', path: '/fn/event/' }
    const invoke = async (bytes: number): Promise<number> =>
      (await call(small, 'POST', '/v1/functions/event/invoke', Buffer.alloc(bytes), { 'content-type': 'x/y' })).status
    const askWith = async (bytes: number): Promise<number | undefined> => {
      const request = http.request(post)
      request.end(Buffer.alloc(bytes))
      const [reply] = (await once(request, 'response')) as [http.IncomingMessage]
      reply.resume()
      return reply.statusCode
    }
    const waiting = http.request({ ...post, headers: { 'content-length': 60_000 } }).on('error', () => {})
    waiting.write(Buffer.alloc(45_000))
    const becomes = async (status: number): Promise<void> =>
      until(
        async () => {
          const said = await askWith(10_000)
          return said === status || String(said)
        },
        { what: `a URL to answer ${status}` },
      )
    await becomes(503)
    assert.deepEqual([await invoke(60_000), await invoke(10_000)], [503, 200])
    waiting.destroy()
    await becomes(200)
    assert.equal(await invoke(60_000), 200)
  } finally {
    await small.close()
  }
})

test('a client that leaves cancels', async () => {
  const { promise, resolve } = Promise.withResolvers<string>()
  serve = (_request, receive) => {
    queueMicrotask(() => {
      receive(started)
      receive({ type: 'head', status: 200, headers: [] })
      receive({ type: 'data', chunk: Buffer.from('a') })
    })
    return (frame) => {
      if (frame.type === 'cancel') resolve(frame.reason)
    }
  }
  const request = await ask({ path: '/fn/web/' })
  request.end()
  const [reply] = (await once(request, 'response')) as [http.IncomingMessage]
  await once(reply, 'data')
  request.destroy()
  assert.match(await promise, /client closed/)
})
