import type { Readable } from 'node:stream'
import { requestWindowBytes } from '../domain/agent.ts'
import type { RequestSource } from '../domain/control.ts'

/** Hands on what `readable` brings, never more than a window ahead of what the function has taken: the rest waits with the client. */
export class BodySource implements RequestSource {
  readonly #readable: Readable
  readonly #bytesMax: number
  readonly #onTooLong: () => void
  #aheadBytes = 0
  #bytes = 0

  constructor(readable: Readable, { bytesMax, onTooLong }: { bytesMax: number; onTooLong: () => void }) {
    this.#readable = readable
    this.#bytesMax = bytesMax
    this.#onTooLong = onTooLong
  }

  open(write: (chunk: Uint8Array, last: boolean) => void): void {
    const readable = this.#readable
    readable.on('data', (chunk: Buffer) => {
      this.#bytes += chunk.length
      if (this.#bytes > this.#bytesMax) {
        readable.pause()
        return this.#onTooLong()
      }
      this.#aheadBytes += chunk.length
      if (this.#aheadBytes >= requestWindowBytes) readable.pause()
      write(chunk, false)
    })
    readable.on('end', () => write(new Uint8Array(0), true))
    readable.resume()
  }

  taken(bytes: number): void {
    this.#aheadBytes -= bytes
    if (this.#aheadBytes < requestWindowBytes && this.#bytes <= this.#bytesMax) this.#readable.resume()
  }
}
