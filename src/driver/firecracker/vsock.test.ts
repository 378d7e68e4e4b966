import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { test, type TestContext } from 'node:test'
import { connectVsock } from './vsock.ts'

interface Door {
  readonly path: string
  readonly lines: string[]
  readonly sockets: net.Socket[]
}

/** Firecracker's socket; `answer` gets each connection and the line that came over it. */
async function door(context: TestContext, answer: (socket: net.Socket, attempt: number) => void): Promise<Door> {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'hv-'))
  const opened: Door = { path: path.join(folder, 'v'), lines: [], sockets: [] }
  const server = net.createServer((socket) => {
    opened.sockets.push(socket.on('error', () => {}))
    socket.once('data', (data: Buffer) => {
      opened.lines.push(data.toString())
      answer(socket, opened.sockets.length)
    })
  })
  server.listen(opened.path)
  await once(server, 'listening')
  context.after(async () => {
    for (const socket of opened.sockets) socket.destroy()
    server.close()
    await rm(folder, { recursive: true, force: true })
  })
  return opened
}

function patience(ms = 5_000): { deadlineMs: number; signal: AbortSignal; gone: AbortController } {
  const gone = new AbortController()
  return { deadlineMs: Date.now() + ms, signal: gone.signal, gone }
}

test('connectVsock: the stream begins behind the OK line, however it is split', async (context) => {
  const { path: socketPath, lines } = await door(context, (socket) => {
    socket.write('O')
    setImmediate(() => socket.write('K 1073'))
    setTimeout(() => socket.write('741824\nfirst'), 20)
    setTimeout(() => socket.write(' second'), 40)
  })
  const stream = await connectVsock(socketPath, 1025, patience())
  assert.deepEqual(lines, ['CONNECT 1025\n'])
  let read = ''
  for await (const chunk of stream) {
    read += String(chunk)
    if (read.length >= 12) break
  }
  assert.equal(read, 'first second')
})

test('connectVsock: a closed connection is tried again until somebody listens', async (context) => {
  const { path: socketPath, lines } = await door(context, (socket, attempt) => {
    if (attempt < 4) socket.destroy()
    else socket.write('OK 1\n')
  })
  const stream = await connectVsock(socketPath, 1024, patience())
  assert.equal(lines.length, 4)
  stream.destroy()
})

test("connectVsock: an answer that is none of Firecracker's is driver_failed", async (context) => {
  const answers = ['NO 1\n', 'OK x\n', 'O'.repeat(200)]
  const { path: socketPath } = await door(context, (socket) => void socket.write(answers.shift() ?? ''))
  await assert.rejects(connectVsock(socketPath, 1024, patience()), { code: 'driver_failed', message: /"NO 1"/ })
  await assert.rejects(connectVsock(socketPath, 1024, patience()), { code: 'driver_failed', message: /"OK x"/ })
  await assert.rejects(connectVsock(socketPath, 1024, patience()), { code: 'driver_failed', message: /without a line/ })
})

test('connectVsock: nobody there, and one that never answers, end at the deadline', async (context) => {
  const late = { code: 'timeout', message: 'The guest does not listen on vsock port 1024.' }
  await assert.rejects(connectVsock('/nowhere/v', 1024, patience(30)), late)
  const { path: socketPath, sockets } = await door(context, () => {})
  await assert.rejects(connectVsock(socketPath, 1024, patience(60)), late)
  assert.equal(sockets.length, 1)
})

test('connectVsock: the end of the VMM ends the wait', async (context) => {
  const { path: socketPath } = await door(context, () => waiting.gone.abort())
  const waiting = patience()
  await assert.rejects(connectVsock(socketPath, 1026, waiting), {
    code: 'driver_failed',
    message: 'The VMM ended before its guest listened on vsock port 1026.',
  })
})

test('connectVsock: a stream that breaks before anybody listens for it breaks nothing else', async (context) => {
  const { path: socketPath, sockets } = await door(context, (socket) => void socket.write('OK 1\n'))
  const stream = await connectVsock(socketPath, 1024, patience())
  const closed = new Promise((resolve) => stream.once('close', resolve))
  sockets[0]?.destroy()
  stream.destroy(new Error('reset'))
  await closed
})
