import { AppError } from '../domain/error.ts'
import type { FileEntry } from './tree.ts'
import { createHash, type Hash } from 'node:crypto'
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs'

/** One for all readers: they are used one after the other. */
const piece = Buffer.alloc(256 * 1024)

/** Reads a tree's file again and sees to it that it is still the one that was hashed. Synchronous: for worker threads. */
export class SourceReader {
  readonly #path: string
  readonly #entry: FileEntry
  readonly #fd: number | null
  /** Of what is read from the disk; bytes that the tree itself holds cannot have changed. */
  readonly #hash: Hash | null

  /** Throws driver_failed when the source is no file any more, or of another size. */
  constructor(path: string, entry: FileEntry) {
    this.#path = path
    this.#entry = entry
    const { source, content } = entry
    this.#fd = content === null && source !== null ? openSync(source, constants.O_RDONLY | constants.O_NOFOLLOW) : null
    this.#hash = this.#fd === null ? null : createHash('sha256')
    if (this.#fd === null) return
    const found = fstatSync(this.#fd)
    if (found.isFile() && found.size === entry.bytes) return
    this.close()
    throw this.#changed()
  }

  /** The bytes from `from` to before `to`, in pieces that are valid until the next is asked for. */
  *read(from: number, to: number): Generator<Uint8Array> {
    const { content } = this.#entry
    if (content !== null) {
      yield content.subarray(from, to)
      return
    }
    for (let at = from; at < to;) {
      const count = readSync(this.#fd ?? -1, piece, 0, Math.min(piece.length, to - at), at)
      if (count === 0) throw this.#changed()
      at += count
      this.note(piece.subarray(0, count))
      yield piece.subarray(0, count)
    }
  }

  /** Counts bytes that were read earlier as read now. */
  note(bytes: Uint8Array): void {
    this.#hash?.update(bytes)
  }

  /** Throws driver_failed unless all that was read and noted, in order, is the content that the tree names. */
  confirm(): void {
    if (this.#hash !== null && this.#hash.digest('hex') !== this.#entry.sha256) throw this.#changed()
  }

  close(): void {
    if (this.#fd !== null) closeSync(this.#fd)
  }

  #changed(): AppError {
    const message = `Cannot finish the image: "${this.#path}" changed while it was being made. Try again.`
    return new AppError('driver_failed', message, { retryable: true, detail: this.#entry.source ?? 'content' })
  }
}
