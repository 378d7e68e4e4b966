import assert from 'node:assert/strict'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import { createClient } from './client.ts'

type Answer = (request: http.IncomingMessage, response: http.ServerResponse) => void

/** A platform that answers each connection by the next of `answers`, and is gone between two of them when told to. */
async function serve(answers: readonly Answer[], port = 0): Promise<{ port: number; end: () => Promise<void> }> {
  const left = [...answers]
  const server = http.createServer((request, response) => left.shift()?.(request, response))
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
  return {
    port: (server.address() as AddressInfo).port,
    async end() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

const line = (offset: number): string =>
  `id: ${offset}\ndata: ${JSON.stringify({ offset, text: `line ${offset}` })}\n\n`
const head = { 'content-type': 'text/event-stream', 'hearth-log-id': 'log-1' }

test('followLogs: a platform that goes and comes back is waited for, told once each, and read on from the last line', async () => {
  const first = await serve([(_request, response) => response.writeHead(200, head).write(`id: 5\n\n${line(9)}`)])
  const stop = new AbortController()
  const told: string[] = []
  const texts: string[] = []
  let asked: http.IncomingHttpHeaders = {}
  let second: Awaited<ReturnType<typeof serve>> | undefined
  const client = createClient({ url: `http://127.0.0.1:${first.port}`, apiKey: 'key' })
  const onConnection = async (state: string): Promise<void> => {
    told.push(state)
    if (state !== 'lost') return
    // Refused at least once, then a platform that still starts, then one that is there.
    await new Promise((resolve) => setTimeout(resolve, 400))
    const starts: Answer = (_request, response) =>
      response
        .writeHead(503)
        .end(JSON.stringify({ error: { code: 'capacity', message: 'It starts.', retryable: true } }))
    const serves: Answer = (request, response) => {
      asked = request.headers
      response.writeHead(200, head).write(line(14))
    }
    second = await serve([starts, serves], first.port)
  }
  for await (const { text } of client.followLogs('fn', {
    signal: stop.signal,
    onConnection: (state) => void onConnection(state),
  })) {
    texts.push(text)
    if (texts.length === 1) await first.end()
    else stop.abort()
  }
  await second?.end()
  assert.deepEqual(texts, ['line 9', 'line 14'])
  assert.deepEqual(told, ['lost', 'back'])
  assert.equal(asked['last-event-id'], '9')
  assert.equal(asked['hearth-log-id'], 'log-1')
})

test('followLogs: a reader that has seen no line comes back to where it began', async () => {
  const stop = new AbortController()
  let asked: http.IncomingHttpHeaders = {}
  const server = await serve([
    (_request, response) => response.writeHead(200, head).end('id: 5\n\n'),
    (request, response) => {
      asked = request.headers
      response.writeHead(200, head).write(line(9))
    },
  ])
  const client = createClient({ url: `http://127.0.0.1:${server.port}`, apiKey: 'key' })
  for await (const { text } of client.followLogs('fn', { signal: stop.signal })) {
    assert.equal(text, 'line 9')
    stop.abort()
  }
  await server.end()
  assert.equal(asked['last-event-id'], '5')
})

test('followLogs: a platform that has no room for now is waited for, whether a reply says so or an event of the stream', async () => {
  const stop = new AbortController()
  const told: string[] = []
  const error = { error: { code: 'capacity', message: 'Too much is read.', retryable: true } }
  const server = await serve([
    (_request, response) => response.writeHead(200, head).end(`event: error\ndata: ${JSON.stringify(error)}\n\n`),
    (_request, response) => response.writeHead(503).end(JSON.stringify(error)),
    (_request, response) => response.writeHead(200, head).write(line(9)),
  ])
  const client = createClient({ url: `http://127.0.0.1:${server.port}`, apiKey: 'key' })
  const options = { signal: stop.signal, onConnection: (state: string) => void told.push(state) }
  for await (const { text } of client.followLogs('fn', options)) {
    assert.equal(text, 'line 9')
    stop.abort()
  }
  await server.end()
  assert.deepEqual(told, ['lost', 'back'])
})

test('followLogs: fails at once where nothing listens, and at what the platform says of a lost connection', async () => {
  const server = await serve([
    (_request, response) => response.writeHead(200, head).end(line(9)),
    (_request, response) =>
      response
        .writeHead(401)
        .end(JSON.stringify({ error: { code: 'unauthorized', message: 'The key was revoked.', retryable: false } })),
  ])
  const client = createClient({ url: `http://127.0.0.1:${server.port}`, apiKey: 'key' })
  const drain = async (): Promise<void> => {
    for await (const each of client.followLogs('fn', { signal: new AbortController().signal }))
      assert.equal(each.offset, 9)
  }
  await assert.rejects(drain(), { code: 'unauthorized', status: 401 })
  await server.end()
  await assert.rejects(drain(), { code: 'unreachable', status: 0 })
})
