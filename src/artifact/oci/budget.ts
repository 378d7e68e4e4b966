import { refuseImage } from './refusal.ts'

/** How much may come of one image. */
export interface ImageBounds {
  readonly unpackedBytesMax: number
  readonly entriesMax: number
}

const fix = 'Leave out what the program does not need.'
/** Header and padding of an entry, with its long names. */
const entryBytesMax = 4_096

/** What is left of the bounds, over all layers of an image. */
export class Budget {
  readonly #bounds: ImageBounds
  #bytesLeft: number
  #entriesLeft: number
  #foldersLeft: number

  constructor(bounds: ImageBounds) {
    this.#bounds = bounds
    this.#bytesLeft = bounds.unpackedBytesMax
    this.#entriesLeft = bounds.entriesMax
    this.#foldersLeft = bounds.entriesMax
  }

  /** Bytes that a layer may unpack to, headers and padding included. */
  get tarBytesMax(): number {
    return this.#bytesLeft + this.#entriesLeft * entryBytesMax + entryBytesMax
  }

  /** A folder is made, named by an entry or by the path of one. Throws invalid when that is one too many. */
  chargeFolder(path: string): void {
    if (--this.#foldersLeft < 0)
      throw refuseImage(path, `with it there are more than ${this.#bounds.entriesMax} folders`, fix)
  }

  /** Throws invalid when there is no room for the entry, which is told by its header alone. */
  charge(where: string, name: string, bytes: number): void {
    this.#entriesLeft--
    this.#bytesLeft -= bytes
    const { unpackedBytesMax, entriesMax } = this.#bounds
    if (this.#entriesLeft < 0)
      throw refuseImage(where, `with it there are more than ${entriesMax} files, folders and links`, fix)
    if (this.#bytesLeft < 0)
      throw refuseImage(`${where}: ${name}`, `with it the image has more than ${unpackedBytesMax} bytes`, fix)
  }
}
