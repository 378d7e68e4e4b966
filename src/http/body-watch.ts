import type { IncomingMessage, ServerResponse } from 'node:http'
import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'

export interface BodyWatchOptions {
  /** How often it looks; the other times are whole multiples of it. */
  readonly sweepMs: number
  /** A request must be here whole by then. */
  readonly totalMs: number
  /** An upload may take as long as it likes, but not without a byte for this long. */
  readonly stallMs: number
}

/** What a connection is sending, if anything. */
interface Sending {
  request: IncomingMessage | null
  response: ServerResponse | null
  isUpload: boolean
  bytesRead: number
  /** Sweep at which it began or, of an upload, last moved. */
  since: number
}

const timedOutBody = '{"error":{"code":"timeout","message":"The request did not come in time.","retryable":true}}'
// With its length: it is whole for the client, however the connection ends.
const timedOut =
  'HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-type: application/json\r\n' +
  `content-length: ${timedOutBody.length}\r\n\r\n${timedOutBody}`

/** Ended at once while the client sends, the connection would be reset under the answer, which takes its time to the other side of the earth. */
const lingerMs = 1_000

/** Cuts clients that take too long to send a request: node's own `requestTimeout` knows no difference between a body that stands still and one that is large.
 *  A request costs it one look-up and no timer. */
export class BodyWatch {
  readonly #options: BodyWatchOptions
  readonly #connections = new Map<Duplex, Sending>()
  readonly #timer: NodeJS.Timeout
  #sweeps = 0

  constructor(options: BodyWatchOptions) {
    this.#options = options
    this.#timer = setInterval(() => this.#sweep(), options.sweepMs)
    this.#timer.unref()
  }

  connected(socket: Duplex): void {
    this.#connections.set(socket, {
      request: null,
      response: null,
      isUpload: false,
      bytesRead: 0,
      since: 0,
    })
    socket.once('close', () => this.#connections.delete(socket))
  }

  /** The headers are here. */
  began(request: IncomingMessage, response: ServerResponse): void {
    const sending = this.#connections.get(request.socket)
    if (sending === undefined) return
    sending.request = request
    sending.response = response
    sending.isUpload = false
    sending.since = this.#sweeps
  }

  /** Somebody who may is sending something large. */
  isUpload(request: IncomingMessage): void {
    const sending = this.#connections.get(request.socket)
    if (sending?.request === request) sending.isUpload = true
  }

  close(): void {
    clearInterval(this.#timer)
  }

  #sweep(): void {
    this.#sweeps++
    for (const [socket, sending] of this.#connections) {
      const { request } = sending
      if (request === null) continue
      if (request.complete || request.destroyed) sending.request = sending.response = null
      else this.#look(socket, request, sending)
    }
  }

  #look(socket: Duplex, request: IncomingMessage, sending: Sending): void {
    const { sweepMs, totalMs, stallMs } = this.#options
    if (sending.isUpload) {
      // An Instance's own stream is no socket, and lives on this machine. What nobody has read yet waits for us, not for the client.
      const bytesRead = socket instanceof Socket ? socket.bytesRead : sending.bytesRead + 1
      if (bytesRead !== sending.bytesRead || request.readableLength > 0) sending.since = this.#sweeps
      sending.bytesRead = bytesRead
    }
    const limit = Math.ceil((sending.isUpload ? stallMs : totalMs) / sweepMs)
    if (this.#sweeps - sending.since < limit) return
    this.#connections.delete(socket)
    cut(socket, sending.response)
  }
}

/** With an answer, where no other is under way on the connection: of this request, or of one before. */
function cut(socket: Duplex, response: ServerResponse | null): void {
  const isOpen = response !== null && response.socket !== null && !response.headersSent
  if (!isOpen) return void socket.destroy()
  socket.write(timedOut)
  setTimeout(() => socket.destroy(), lingerMs).unref()
}
