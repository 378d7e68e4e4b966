import type { ServerResponse } from 'node:http'
import { Socket } from 'node:net'
import { cutIfStalled } from './stalled.ts'

/** Passes bytes on to a client and gives credit for what its connection took: what is neither taken nor credited is all the memory that a reply costs here,
 *  and the sender stops at one window of it. Tolerates a client that is gone. */
export class StreamReply {
  readonly #response: ServerResponse
  readonly #credit: (bytes: number) => void
  #waitingBytes = 0

  constructor(response: ServerResponse, credit: (bytes: number) => void) {
    this.#response = response
    this.#credit = credit
    // A stream may be silent for long; only one that has something to take is stalled.
    cutIfStalled(response, () => this.#waitingBytes > 0)
  }

  write(chunk: Uint8Array): void {
    const response = this.#response
    if (response.destroyed || chunk.length === 0) return
    this.#waitingBytes += chunk.length
    response.write(chunk, (error) => {
      this.#waitingBytes -= chunk.length
      if (error === null || error === undefined) this.#credit(chunk.length)
    })
  }

  /** Ends it in order, with trailers where there is a place for them. */
  end(trailers: readonly [string, string][] = []): void {
    const response = this.#response
    if (response.destroyed) return
    if (trailers.length > 0) response.addTrailers(trailers)
    response.end()
  }

  /** Ends it so that the client cannot take what it has for the whole: the connection breaks off after the bytes that came. */
  cut(): void {
    const { socket } = this.#response
    if (socket instanceof Socket) socket.destroySoon()
    else this.#response.destroy()
  }
}
