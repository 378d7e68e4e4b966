import assert from 'node:assert/strict'
import { once } from 'node:events'
import { unlinkSync } from 'node:fs'
import { link, mkdtemp, rm } from 'node:fs/promises'
import http, { type RequestListener } from 'node:http'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { test, type TestContext } from 'node:test'
import { FirecrackerApi } from './api.ts'

async function socketFolder(context: TestContext): Promise<string> {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'ha-'))
  context.after(() => rm(folder, { recursive: true, force: true }))
  return folder
}

/** An API whose other end is `listener`. */
async function apiOver(context: TestContext, listener: RequestListener): Promise<FirecrackerApi> {
  const socketPath = path.join(await socketFolder(context), 'api')
  const server = http.createServer(listener).listen(socketPath)
  await once(server, 'listening')
  const api = new FirecrackerApi(socketPath)
  context.after(() => {
    api.close()
    server.closeAllConnections()
    server.close()
  })
  return api
}

test('send: method, path and body go out as they are; 204 is success', async (context) => {
  const seen: unknown[] = []
  const api = await apiOver(context, (request, response) => {
    let body = ''
    request.on('data', (chunk: Buffer) => (body += chunk.toString()))
    request.on('end', () => {
      seen.push([request.method, request.url, request.headers['content-type'], JSON.parse(body)])
      response.writeHead(204).end()
    })
  })
  await api.send('PATCH /vm', { state: 'Paused' })
  await api.send('PUT /entropy', {})
  assert.deepEqual(seen, [
    ['PATCH', '/vm', 'application/json', { state: 'Paused' }],
    ['PUT', '/entropy', 'application/json', {}],
  ])
})

test("send: a refusal carries Firecracker's own sentence", async (context) => {
  const api = await apiOver(context, (_request, response) => {
    response.writeHead(400).end(JSON.stringify({ fault_message: 'The guest is asleep.' }))
  })
  await assert.rejects(api.send('PATCH /vm', { state: 'Resumed' }), {
    code: 'driver_failed',
    message: 'Firecracker refused PATCH /vm: The guest is asleep.',
  })
})

test('send: a refusal without a sentence tells the status, and a long sentence is cut', async (context) => {
  const bodies = ['<html>', '[]', JSON.stringify({ fault_message: 'x'.repeat(5_000) })]
  const api = await apiOver(context, (_request, response) => void response.writeHead(500).end(bodies.shift()))
  await assert.rejects(api.send('PUT /entropy', {}), { message: 'Firecracker refused PUT /entropy: status 500' })
  await assert.rejects(api.send('PUT /entropy', {}), { message: 'Firecracker refused PUT /entropy: status 500' })
  await assert.rejects(api.send('PUT /entropy', {}), {
    message: `Firecracker refused PUT /entropy: ${'x'.repeat(400)}`,
  })
})

test('send: a reply without end is not read to its end', async (context) => {
  const api = await apiOver(context, (_request, response) => {
    response.writeHead(400)
    const flood = (): void => {
      while (!response.destroyed && response.write('x'.repeat(16_384)));
      if (!response.destroyed) response.once('drain', flood)
    }
    flood()
  })
  await assert.rejects(api.send('PUT /entropy', {}), { code: 'driver_failed', message: /its reply is too long/ })
})

test('send: no socket, and one whose VMM goes while it answers, are driver_failed', async (context) => {
  const folder = await socketFolder(context)
  const nobody = new FirecrackerApi(path.join(folder, 'nobody'))
  await assert.rejects(nobody.send('PUT /entropy', {}), {
    code: 'driver_failed',
    retryable: true,
    message: /^Firecracker did not do PUT \/entropy: .*ENOENT/,
  })
  const socketPath = path.join(folder, 'dying')
  const server = net.createServer((socket) => socket.once('data', () => socket.destroy())).listen(socketPath)
  await once(server, 'listening')
  context.after(() => void server.close())
  const dying = new FirecrackerApi(socketPath)
  await assert.rejects(dying.send('PUT /entropy', {}), { code: 'driver_failed', retryable: true })
})

test('send: a socket that is bound and does not listen yet is waited for', async (context) => {
  const socketPath = path.join(await socketFolder(context), 'api')
  // What is left of a server that is gone refuses as one does that is to come.
  const former = net.createServer().listen(`${socketPath}.former`)
  await once(former, 'listening')
  await link(`${socketPath}.former`, socketPath)
  former.close()
  const api = new FirecrackerApi(socketPath)
  const sent = api.send('PUT /entropy', {})
  const server = http.createServer((_request, response) => void response.writeHead(204).end())
  setTimeout(() => {
    unlinkSync(socketPath)
    server.listen(socketPath)
  }, 50)
  await sent
  api.close()
  server.close()
  await assert.rejects(api.send('PUT /entropy', {}), { code: 'driver_failed' })
})

test('guestAvailableBytes: a silent VMM, or one that is busy with another request, is waited for a second at most', async (context) => {
  const held: http.ServerResponse[] = []
  const api = await apiOver(context, (_request, response) => void held.push(response))
  const silent = { code: 'driver_failed', message: /GET \/balloon\/statistics: no reply within 1000 ms/ }
  await assert.rejects(api.guestAvailableBytes(), silent)
  const sent = api.send('PATCH /vm', { state: 'Paused' })
  await assert.rejects(api.guestAvailableBytes(), silent)
  held.at(-1)?.writeHead(204).end()
  await sent
  const again = api.guestAvailableBytes()
  while (held.length < 3) await new Promise((resolve) => setTimeout(resolve, 5))
  held.at(-1)?.end('{"available_memory":7}')
  assert.equal(await again, 7)
})
