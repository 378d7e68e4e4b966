import assert from 'node:assert/strict'
import http from 'node:http'
import net, { type AddressInfo } from 'node:net'
import { after, before, test } from 'node:test'
import { BodyWatch } from './body-watch.ts'

let server: http.Server
const watch = new BodyWatch({ sweepMs: 20, totalMs: 600, stallMs: 400 })

before(async () => {
  server = http.createServer({ requestTimeout: 0 }, (request, response) => {
    watch.began(request, response)
    if (request.url === '/upload') watch.isUpload(request)
    request.resume()
    request.on('end', () => response.end('whole'))
    // Cut by the watch: the socket's own end says so.
    request.on('error', () => {})
  })
  server.on('connection', (socket) => watch.connected(socket))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
})
after(async () => {
  watch.close()
  server.closeAllConnections()
  await new Promise((resolve) => server.close(resolve))
})

/** Sends `sent` of the `bytes` that it announces, one every 50 ms, and says what came back. */
async function send(path: string, { bytes, sent = bytes }: { bytes: number; sent?: number }): Promise<string> {
  const socket = net.connect({ port: (server.address() as AddressInfo).port, host: '127.0.0.1' })
  let received = ''
  socket.on('data', (chunk: Buffer) => (received += chunk.toString()))
  // What is cut may be reset.
  socket.on('error', () => {})
  const closed = new Promise((resolve) => socket.once('close', resolve))
  socket.write(`PUT ${path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: ${bytes}\r\n\r\n`)
  for (let n = 0; n < sent && !socket.destroyed; n++) {
    socket.write('x')
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  await closed
  return received
}

test('BodyWatch: an upload that moves may take longer than any request', async () => {
  assert.match(await send('/upload', { bytes: 20 }), /^HTTP\/1\.1 200 OK[^]*whole$/)
})

test('BodyWatch: an upload that stands still is 408, and its connection closed', async () => {
  assert.match(await send('/upload', { bytes: 20, sent: 2 }), /^HTTP\/1\.1 408 Request Timeout[^]*"code":"timeout"/)
})

test('BodyWatch: any other request has its time in all, however it moves', async () => {
  assert.match(await send('/other', { bytes: 100 }), /^HTTP\/1\.1 408 Request Timeout/)
})
