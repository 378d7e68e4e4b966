import { once } from 'node:events'
import net from 'node:net'
import path from 'node:path'

/** On which virtio port the stream of a vsock port goes. Twin: src/driver/firecracker/vsock.ts. */
const ports: Readonly<Record<number, string>> = { 1024: 'init', 1025: 'supervisor', 1026: 'runtime' }
const lineBytesMax = 32
/** Firecracker gives each connection a port of the host's, from here on. */
const firstHostPort = 1_073_741_824

/** The guest as the door sees it. */
export interface DoorGuest {
  /** Whether it listens on that port. Resolves while its processors run. */
  isListening(port: string): Promise<boolean>
}

/** Firecracker's vsock socket for connections from the host: `CONNECT <port>\n` is answered by `OK <host port>\n` and carries on as the stream;
 *  while nobody listens the connection is closed. One connection at a time on each port, since a virtio port has one host. */
export class VsockDoor {
  readonly #server: net.Server
  readonly #workFolder: string
  readonly #connections = new Set<net.Socket>()
  readonly #taken = new Set<string>()
  #guest: DoorGuest | null = null
  #nextHostPort = firstHostPort

  private constructor(server: net.Server, workFolder: string) {
    this.#server = server
    this.#workFolder = workFolder
    server.on('connection', (socket: net.Socket) => {
      this.#hold(socket)
      // Whatever goes wrong, the connection ends: that is all a host is told.
      this.#serve(socket).catch(() => socket.destroy())
    })
  }

  /** Throws what `listen` does: the path is taken, or its folder not there. */
  static async open(socketPath: string, workFolder: string): Promise<VsockDoor> {
    const server = net.createServer()
    server.listen(socketPath)
    await once(server, 'listening')
    return new VsockDoor(server, workFolder)
  }

  /** Until then every connection is closed. */
  connectTo(guest: DoorGuest): void {
    this.#guest = guest
  }

  /** Ends all connections, as taking a snapshot does. */
  reset(): void {
    for (const socket of this.#connections) socket.destroy()
  }

  close(): void {
    this.#server.close()
    this.reset()
  }

  async #serve(socket: net.Socket): Promise<void> {
    const port = ports[Number(/^CONNECT (\d+)$/i.exec(await readLine(socket))?.[1])]
    const guest = this.#guest
    if (port === undefined || guest === null || !(await guest.isListening(port)) || this.#taken.has(port)) {
      socket.destroy()
      return
    }
    this.#taken.add(port)
    const stream = net.connect(path.join(this.#workFolder, port))
    this.#hold(stream)
    stream.once('close', () => {
      this.#taken.delete(port)
      socket.destroy()
    })
    socket.once('close', () => stream.destroy())
    await once(stream, 'connect')
    if (socket.destroyed) return void stream.destroy()
    socket.write(`OK ${this.#nextHostPort++}\n`)
    socket.pipe(stream).pipe(socket)
  }

  #hold(socket: net.Socket): void {
    this.#connections.add(socket)
    socket.on('error', () => {})
    socket.once('close', () => this.#connections.delete(socket))
  }
}

/** What came behind the line is put back. Throws when there is no line. */
async function readLine(socket: net.Socket): Promise<string> {
  let read = Buffer.alloc(0)
  for (;;) {
    const chunk: Buffer | null = socket.read()
    if (chunk === null) {
      await once(socket, 'readable')
      if (socket.readableEnded) throw new Error('it ended')
      continue
    }
    read = Buffer.concat([read, chunk])
    const at = read.indexOf(10)
    if (at > lineBytesMax || (at < 0 && read.length > lineBytesMax)) throw new Error('the line is too long')
    if (at < 0) continue
    if (at + 1 < read.length) socket.unshift(read.subarray(at + 1))
    return read.subarray(0, at).toString()
  }
}
