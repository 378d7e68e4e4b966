import { once } from 'node:events'
import { createWriteStream } from 'node:fs'
import net from 'node:net'
import { pipeline } from 'node:stream/promises'
import { AppError } from '../../domain/error.ts'

/** Device state of a microVM measured 38-52 KiB; a VMM that was broken into must not fill the disk. */
const stateBytesMax = 16 * 1024 * 1024

/** Listens on a UNIX socket for one connection of QEMU's, whose bytes become the file `target`. */
export class StateReceiver {
  /** Resolves when the file is whole and on disk; rejects with driver_failed. */
  readonly saved: Promise<void>
  readonly #server: net.Server
  #connection: net.Socket | null = null

  static async listen(path: string, target: string): Promise<StateReceiver> {
    const server = net.createServer()
    server.listen(path)
    await once(server, 'listening')
    return new StateReceiver(server, target)
  }

  private constructor(server: net.Server, target: string) {
    this.#server = server
    this.saved = new Promise((resolve, reject) => {
      server.once('close', () => {
        if (this.#connection === null)
          reject(new AppError('driver_failed', 'The machine was ended before it was saved.'))
      })
      server.once('connection', (socket: net.Socket) => {
        this.#connection = socket
        server.close()
        receive(socket, target).then(resolve, reject)
      })
    })
    // Whoever waits for it hears of it; nobody need wait.
    this.saved.catch(() => {})
  }

  async close(): Promise<void> {
    this.#server.close()
    this.#connection?.destroy()
  }
}

async function receive(socket: net.Socket, target: string): Promise<void> {
  let bytes = 0
  socket.on('data', (chunk: Buffer) => {
    bytes += chunk.length
    if (bytes > stateBytesMax)
      socket.destroy(new AppError('driver_failed', `QEMU's state is larger than ${stateBytesMax} bytes.`))
  })
  await pipeline(socket, createWriteStream(target, { flags: 'wx', mode: 0o600, flush: true }))
}
