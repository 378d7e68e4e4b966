import { once } from 'node:events'
import net from 'node:net'
import { AppError } from '../../domain/error.ts'
import type { PortName } from '../vm/vmm.ts'

/** On these the guest's init listens, in the order of `portNames`. Twin: guest/src/init/doors.rs. */
export const vsockPorts: Readonly<Record<PortName, number>> = { init: 1024, supervisor: 1025, runtime: 1026 }

const lineBytesMax = 64
/** Firecracker closes the connection at once while nobody listens in the guest: it is tried again at this pace. */
const retryMs = 5

/** A stream to `port` of the guest behind Firecracker's socket, once its init listens. Source: Firecracker docs/vsock, host-initiated connections:
 *  `CONNECT <port>\n`, answered by `OK <number>\n`. Throws timeout when `deadlineMs` (epoch ms) passes first. */
export async function connectVsock(socketPath: string, port: number, deadlineMs: number): Promise<net.Socket> {
  for (;;) {
    const socket = await tryConnect(socketPath, port)
    if (socket !== null) return socket
    if (Date.now() >= deadlineMs)
      throw new AppError('timeout', `The guest does not listen on vsock port ${port}.`, { retryable: true })
    await new Promise((resolve) => void setTimeout(resolve, retryMs))
  }
}

/** Null while nobody listens there. Throws driver_failed when the answer is none of Firecracker's. */
async function tryConnect(socketPath: string, port: number): Promise<net.Socket | null> {
  const socket = net.connect(socketPath)
  try {
    await once(socket, 'connect')
    socket.write(`CONNECT ${port}\n`)
    const line = await firstLine(socket)
    if (line === null) {
      socket.destroy()
      return null
    }
    if (/^OK \d+$/.test(line)) return socket
    throw new AppError('driver_failed', `Firecracker answered "${line}" to a vsock connection.`)
  } catch (error) {
    socket.destroy()
    if (error instanceof AppError) throw error
    return null
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
        if (read.length > lineBytesMax) return failed(new Error('the first line is too long'))
      }
    }
    socket.on('readable', take).on('end', ended).on('close', ended).on('error', failed)
  })
}
