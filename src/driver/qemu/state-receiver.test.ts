import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { test, type TestContext } from 'node:test'
import { StateReceiver } from './state-receiver.ts'

async function listening(context: TestContext): Promise<{ receiver: StateReceiver; socket: string; target: string }> {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'hr-'))
  const [socket, target] = [path.join(folder, 'save'), path.join(folder, 'state')]
  const receiver = await StateReceiver.listen(socket, target)
  context.after(async () => {
    await receiver.close()
    await rm(folder, { recursive: true, force: true })
  })
  return { receiver, socket, target }
}

async function connected(socketPath: string): Promise<net.Socket> {
  const socket = net.connect(socketPath)
  socket.on('error', () => {})
  await once(socket, 'connect')
  return socket
}

test('saved: the file holds what came, whole, and for nobody else to read', async (context) => {
  const { receiver, socket, target } = await listening(context)
  const qemu = await connected(socket)
  const state = Buffer.from('0123456789abcdef'.repeat(4_096))
  qemu.write(state.subarray(0, 100))
  qemu.end(state.subarray(100))
  await receiver.saved
  assert.deepEqual(await readFile(target), state)
  assert.equal((await stat(target)).mode & 0o777, 0o600)
})

test('saved: only the first connection counts', async (context) => {
  const { receiver, socket, target } = await listening(context)
  const qemu = await connected(socket)
  const [error]: Error[] = await once(net.connect(socket), 'error')
  assert.match(error?.message ?? '', /ENOENT|ECONNREFUSED/)
  qemu.end('state')
  await receiver.saved
  assert.equal(await readFile(target, 'utf8'), 'state')
})

test('saved: more than a device state can be is refused', async (context) => {
  const { receiver, socket } = await listening(context)
  const qemu = await connected(socket)
  const flood = (): void => {
    while (!qemu.destroyed && qemu.write(Buffer.alloc(256 * 1024)));
    if (!qemu.destroyed) qemu.once('drain', flood)
  }
  flood()
  await assert.rejects(receiver.saved, { code: 'driver_failed', message: /is larger than 16777216 bytes/ })
})

test('saved: a machine that ends before it is saved is driver_failed', async (context) => {
  const { receiver } = await listening(context)
  await receiver.close()
  await assert.rejects(receiver.saved, { code: 'driver_failed', message: /ended before it was saved/ })
})

test('saved: a connection that breaks half way is a failure', async (context) => {
  const { receiver, socket } = await listening(context)
  const qemu = await connected(socket)
  qemu.write('half')
  await receiver.close()
  await assert.rejects(receiver.saved)
})

test('saved: a file that is there already is not written over', async (context) => {
  const { receiver, socket, target } = await listening(context)
  await writeFile(target, 'precious')
  const qemu = await connected(socket)
  qemu.end('state')
  await assert.rejects(receiver.saved, /EEXIST/)
  assert.equal(await readFile(target, 'utf8'), 'precious')
})
