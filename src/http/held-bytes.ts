/** Bytes of requests and replies in memory at a time, beside what functions hold. A part of a larger whole counts there too. */
export class HeldBytes {
  readonly #bytesMax: number
  readonly #whole: HeldBytes | null
  #bytes = 0

  constructor({ bytesMax, whole = null }: { bytesMax: number; whole?: HeldBytes | null }) {
    this.#bytesMax = bytesMax
    this.#whole = whole
  }

  /** Negative: gives back. */
  add(bytes: number): void {
    this.#bytes += bytes
    this.#whole?.add(bytes)
  }

  get bytes(): number {
    return this.#bytes
  }

  /** Nothing more should be taken in: refuse. */
  get isOver(): boolean {
    return this.#bytes > this.#bytesMax || this.#whole?.isOver === true
  }
}

/** What the API and functions' URLs hold together, and what of it URLs may: strangers reach them, and must leave room for holders of keys. */
export const heldBytesMax = 512 * 2 ** 20
export const urlHeldBytesMax = heldBytesMax / 2
