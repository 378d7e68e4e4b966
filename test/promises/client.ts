import { once } from 'node:events'
import net from 'node:net'

export interface TimedReply {
  readonly ms: number
  readonly status: number
  /** Header names in lower case. */
  readonly headers: ReadonlyMap<string, string>
  readonly body: Buffer
}

/** One keep-alive connection that sends prepared bytes: a general HTTP client adds a millisecond of its own after a pause, which would
 *  flatter every ratio of two calls. */
export class Client {
  readonly #socket: net.Socket

  /** Rejects when nobody listens at `url`. */
  static async connect(url: string): Promise<Client> {
    const { hostname, port } = new URL(url)
    const socket = net.connect(Number(port), hostname)
    socket.setNoDelay(true)
    await once(socket, 'connect')
    return new Client(socket)
  }

  private constructor(socket: net.Socket) {
    this.#socket = socket
  }

  /** POSTs `body` to the path of `url`. */
  post(url: string, headers: Readonly<Record<string, string>>, body: string): Promise<TimedReply> {
    const all = { host: 'bench', ...headers, 'content-length': String(Buffer.byteLength(body)) }
    const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`)
    return this.#exchange(Buffer.from(`POST ${new URL(url).pathname} HTTP/1.1\r\n${lines.join('')}\r\n${body}`))
  }

  close(): void {
    this.#socket.destroy()
  }

  #exchange(request: Buffer): Promise<TimedReply> {
    return new Promise((resolve, reject) => {
      let received = Buffer.alloc(0)
      const onData = (chunk: Buffer): void => {
        received = Buffer.concat([received, chunk])
        const reply = parseReply(received, performance.now() - startedAt)
        if (reply === null) return
        this.#socket.off('data', onData)
        this.#socket.off('close', onClose)
        resolve(reply)
      }
      const onClose = (): void => reject(new Error(`The connection closed before a reply: ${received.toString()}`))
      this.#socket.on('data', onData)
      this.#socket.on('close', onClose)
      const startedAt = performance.now()
      this.#socket.write(request)
    })
  }
}

/** Null while the reply is not whole. */
function parseReply(bytes: Buffer, ms: number): TimedReply | null {
  const end = bytes.indexOf('\r\n\r\n')
  if (end < 0) return null
  const [statusLine = '', ...lines] = bytes.subarray(0, end).toString().split('\r\n')
  const headers = new Map(
    lines.map((line) => [line.slice(0, line.indexOf(':')).toLowerCase(), line.slice(line.indexOf(':') + 1).trim()]),
  )
  const reply = { ms, status: Number(statusLine.split(' ')[1]), headers, body: bytes.subarray(end + 4) }
  if (headers.get('transfer-encoding') === 'chunked') return reply.body.includes('0\r\n\r\n') ? reply : null
  return reply.body.length < Number(headers.get('content-length') ?? 0) ? null : reply
}
