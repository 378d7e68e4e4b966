import { AppError } from '../../domain/error.ts'
import { rm } from 'node:fs/promises'
import net from 'node:net'

/** sun_path holds 108 bytes with its ending zero. */
const pathBytesMax = 107

/** A UNIX socket that takes exactly one connection: the launcher's, which hands it into a sandbox. */
export class ChannelListener {
  readonly path: string
  readonly #server: net.Server
  #socket: net.Socket | null = null
  #arrived: (socket: net.Socket) => void = () => {}
  readonly #connection: Promise<net.Socket>

  /** Listens at `path`. Throws driver_failed naming the path. */
  static async listen(path: string): Promise<ChannelListener> {
    if (Buffer.byteLength(path) > pathBytesMax)
      throw new AppError('driver_failed', `Cannot listen at "${path}": longer than ${pathBytesMax} bytes.`)
    const listener = new ChannelListener(path)
    await new Promise<void>((resolve, reject) => {
      listener.#server.once('error', (cause) =>
        reject(new AppError('driver_failed', `Cannot listen at "${path}": ${cause.message}`, { cause })),
      )
      listener.#server.listen(path, resolve)
    })
    // Waiting keeps no process alive.
    listener.#server.unref()
    return listener
  }

  private constructor(path: string) {
    this.path = path
    this.#connection = new Promise((resolve) => (this.#arrived = resolve))
    this.#server = net.createServer((socket) => {
      if (this.#socket !== null) socket.destroy()
      else {
        this.#socket = socket
        this.#arrived(socket)
      }
    })
  }

  /** The connection, once it is there; the listening end is closed and unlinked then. */
  async accept(): Promise<net.Socket> {
    const socket = await this.#connection
    this.#stopListening()
    return socket
  }

  async close(): Promise<void> {
    this.#stopListening()
    this.#socket?.destroy()
    await rm(this.path, { force: true })
  }

  #stopListening(): void {
    // `close` unlinks the path; connections already taken stay open.
    this.#server.close()
  }
}
