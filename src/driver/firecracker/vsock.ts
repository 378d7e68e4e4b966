import { once } from 'node:events'
import net from 'node:net'
import { AppError } from '../../domain/error.ts'
import type { PortName } from '../vm/vmm.ts'

/** On these the guest's init listens, in the order of `portNames`. Twin: guest/src/init/doors.rs. */
export const vsockPorts: Readonly<Record<PortName, number>> = { init: 1024, supervisor: 1025, runtime: 1026 }

const lineBytesMax = 64
/** Firecracker closes the connection at once while nobody listens in the guest: it is tried again at this pace. */
const retryMs = 5

export interface VsockPatience {
  /** Epoch ms. */
  readonly deadlineMs: number
  /** Aborted once the VMM is gone. */
  readonly signal: AbortSignal
}

/** A stream to `port` of the guest behind Firecracker's socket, once its init listens. Source: Firecracker docs/vsock, host-initiated connections:
 *  `CONNECT <port>\n`, answered by `OK <number>\n`. Throws timeout when the deadline passes first, driver_failed when the VMM goes first. */
export async function connectVsock(socketPath: string, port: number, patience: VsockPatience): Promise<net.Socket> {
  for (;;) {
    const socket = await tryConnect(socketPath, port, patience)
    if (socket !== null) return socket
    if (patience.signal.aborted)
      throw new AppError('driver_failed', `The VMM ended before its guest listened on vsock port ${port}.`)
    if (Date.now() >= patience.deadlineMs)
      throw new AppError('timeout', `The guest does not listen on vsock port ${port}.`, { retryable: true })
    await new Promise((resolve) => void setTimeout(resolve, retryMs))
  }
}

/** Null while nobody listens there, and when patience ends. Throws driver_failed when the answer is none of Firecracker's. */
async function tryConnect(
  socketPath: string,
  port: number,
  { deadlineMs, signal }: VsockPatience,
): Promise<net.Socket | null> {
  const socket = net.connect(socketPath)
  // Also later: until a link holds the stream nobody else listens for errors, and its end is told by `close`.
  socket.on('error', () => {})
  const giveUp = (): void => void socket.destroy()
  const timer = setTimeout(giveUp, Math.max(0, deadlineMs - Date.now()))
  signal.addEventListener('abort', giveUp)
  try {
    await once(socket, 'connect', { signal })
    socket.write(`CONNECT ${port}\n`)
    const line = await firstLine(socket)
    if (line !== null && /^OK \d+$/.test(line)) return socket
    socket.destroy()
    if (line === null) return null
    throw new AppError('driver_failed', `Firecracker answered "${line}" to a vsock connection.`)
  } catch (error) {
    socket.destroy()
    if (error instanceof AppError) throw error
    return null
  } finally {
    clearTimeout(timer)
    signal.removeEventListener('abort', giveUp)
  }
}

/** The first line, the rest put back; null when the stream ends before. */
function firstLine(socket: net.Socket): Promise<string | null> {
  return new Promise((resolve, reject) => {
    let read = Buffer.alloc(0)
    const done = (line: string | null): void => {
      socket.off('readable', take).off('end', ended).off('close', ended).off('error', failed)
      resolve(line)
    }
    const ended = (): void => done(null)
    const failed = (error: Error): void => reject(error)
    const take = (): void => {
      for (let chunk: Buffer | null = socket.read(); chunk !== null; chunk = socket.read()) {
        read = Buffer.concat([read, chunk])
        const at = read.indexOf(10)
        if (at >= 0) {
          const rest = read.subarray(at + 1)
          if (rest.length > 0) socket.unshift(rest)
          return done(read.subarray(0, at).toString())
        }
        if (read.length > lineBytesMax)
          return reject(new AppError('driver_failed', 'Firecracker answered without a line to a vsock connection.'))
      }
    }
    socket.on('readable', take).on('end', ended).on('close', ended).on('error', failed)
  })
}
