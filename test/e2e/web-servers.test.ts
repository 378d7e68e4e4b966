import assert from 'node:assert/strict'
import { once } from 'node:events'
import { request, type IncomingMessage } from 'node:http'
import { after, before, describe, test } from 'node:test'
import { text } from 'node:stream/consumers'
import { invoke } from '../support/functions.ts'
import { startPlatform, type Platform } from '../support/platform.ts'
import { makeClient, pythonOfPip, webServers, type RuntimeClient } from '../support/runtime-clients.ts'

/* Web servers as teams have them, unchanged behind contract http: Express, FastAPI under uvicorn, Go's net/http. Through the API and at a URL. */

/** A first installation fetches from a registry. */
const makeMsMax = 290_000

interface Server {
  readonly client: RuntimeClient
  /** Flags of `hearth function create`. */
  readonly flags: readonly string[]
  /** An event, which is the body of `POST /`, and its answer. */
  readonly event: unknown
  readonly answer: unknown
  /** A body that the framework itself refuses, and with what. */
  readonly refused: number
}

const uvicorn = 'python3 -m uvicorn main:app --host 0.0.0.0 --port 8080'
const servers: Record<string, Server> = {
  Express: {
    client: webServers.express,
    flags: ['--runtime', 'node', '--contract', 'http', '--command', 'node server.js'],
    event: { apples: 3, pears: 4 },
    answer: { sum: 7 },
    refused: 400,
  },
  FastAPI: {
    client: webServers.fastapi,
    flags: ['--runtime', await pythonOfPip(), '--contract', 'http', '--command', uvicorn],
    event: { name: 'you', times: 2 },
    answer: { text: 'Hello, you! Hello, you!' },
    refused: 422,
  },
  "Go's net/http": {
    client: webServers['go-http'],
    flags: ['--runtime', 'http'],
    event: { text: 'stra\u{df}e' },
    answer: { text: 'STRASSE'.replace('SS', '\u{df}') },
    refused: 400,
  },
}

let platform: Platform
before(async () => {
  platform = await startPlatform()
})
after(async () => platform.stop())

for (const [title, { client, flags, event, answer, refused }] of Object.entries(servers))
  describe(title, { timeout: makeMsMax }, () => {
    const { name } = client
    let reason: string | null = null

    before(async () => {
      const made = await makeClient(client)
      if ('reason' in made) {
        reason = made.reason
        return
      }
      const seats = ['--instance-concurrency', '10', '--memory', '512', '--init-timeout', '60', '--timeout', '120']
      const { folder } = made
      const deployed = await platform.cli(['function', 'create', '--name', name, '--code', folder, ...flags, ...seats])
      assert.equal(deployed.code, 0, deployed.stderr)
      const url = await platform.cli(['function', 'url', 'create', name, '--auth', 'none'])
      assert.equal(url.code, 0, url.stderr)
    })

    test('an event is the body of POST /; the framework itself refuses a broken one', async (t) => {
      if (reason !== null) return t.skip(reason)
      const first = await invoke(platform, name, event)
      assert.equal(first.status, 200, first.body.toString())
      assert.deepEqual(first.json(), answer)
      const broken = await fetch(urlOf(name), { ...post, body: '{"name": ' })
      assert.equal(broken.status, refused, await broken.text())
    })

    test('ten at a time share one Instance at its URL, and absent routes are its own 404', async (t) => {
      if (reason !== null) return t.skip(reason)
      const body = JSON.stringify(event)
      const replies = await Promise.all(Array.from({ length: 10 }, async () => fetch(urlOf(name), { ...post, body })))
      for (const reply of replies) assert.deepEqual(await reply.json(), answer)
      assert.equal((await fetch(`${urlOf(name)}absent`)).status, 404)
    })

    test('server-sent events come one by one, while the server still makes the others', async (t) => {
      if (reason !== null) return t.skip(reason)
      const asked = request(`${urlOf(name)}count`).end()
      const [reply]: IncomingMessage[] = await once(asked, 'response')
      assert.ok(reply)
      assert.match(reply.headers['content-type'] ?? '', /^text\/event-stream/)
      const [first]: Buffer[] = await once(reply, 'data')
      assert.equal(String(first), 'data: 1\n\n')
      assert.equal(await text(reply), 'data: 2\n\ndata: 3\n\n')
    })
  })

test('FastAPI: a WebSocket passes both ways and is closed by either side', { timeout: makeMsMax }, async (t) => {
  if ('reason' in (await makeClient(webServers.fastapi))) return t.skip('FastAPI is not here')
  const socket = new WebSocket(`${urlOf('fastapi').replace('http:', 'ws:')}echo`)
  await once(socket, 'open')
  for (const word of ['hello', 'x'.repeat(100_000)]) {
    socket.send(word)
    const [message]: MessageEvent[] = await once(socket, 'message')
    assert.equal(message?.data, word.toUpperCase())
  }
  socket.close(1000)
  const [closed]: CloseEvent[] = await once(socket, 'close')
  assert.equal(closed?.code, 1000)
})

const post = { method: 'POST', headers: { 'content-type': 'application/json' } }
const urlOf = (name: string): string => `${platform.urlsUrl}/fn/${name}/`
