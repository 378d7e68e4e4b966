import { createHash } from 'node:crypto'
import type { Readable } from 'node:stream'
import { requestWindowBytes } from '../domain/agent.ts'
import type { RequestSource } from '../domain/control.ts'

interface BodyBounds {
  readonly bytesMax: number
  readonly onTooLong: () => void
  /** Hexadecimal SHA-256 that the bytes must turn out to have: a body with another one has no end. */
  readonly hash?: string | null
  readonly onWrongHash?: () => void
}

/** Hands on what `readable` brings, never more than a window ahead of what the function has taken: the rest waits with the client. */
export class BodySource implements RequestSource {
  readonly #readable: Readable
  readonly #bounds: BodyBounds
  #aheadBytes = 0
  #bytes = 0
  #isDropped = false

  constructor(readable: Readable, bounds: BodyBounds) {
    this.#readable = readable
    this.#bounds = bounds
  }

  open(write: (chunk: Uint8Array, last: boolean) => void): void {
    const readable = this.#readable
    const { bytesMax, onTooLong, hash: wanted = null, onWrongHash } = this.#bounds
    const hash = wanted === null ? null : createHash('sha256')
    readable.on('data', (chunk: Buffer) => {
      this.#bytes += chunk.length
      if (this.#isDropped) return void (this.#bytes > bytesMax && readable.destroy())
      if (this.#bytes > bytesMax) {
        readable.pause()
        return onTooLong()
      }
      hash?.update(chunk)
      this.#aheadBytes += chunk.length
      if (this.#aheadBytes >= requestWindowBytes) readable.pause()
      write(chunk, false)
    })
    readable.on('end', () => {
      if (this.#isDropped) return
      if (hash === null || hash.digest('hex') === wanted) write(new Uint8Array(0), true)
      else onWrongHash?.()
    })
    readable.resume()
  }

  /** Nobody wants the rest: it is read and left, since a client reads no answer, or sends no other request, before it has sent all of this one. */
  drop(): void {
    this.#isDropped = true
    this.#readable.resume()
  }

  taken(bytes: number): void {
    this.#aheadBytes -= bytes
    if (this.#aheadBytes < requestWindowBytes && this.#bytes <= this.#bounds.bytesMax) this.#readable.resume()
  }
}
