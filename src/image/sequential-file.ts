import { closeSync, fsyncSync, ftruncateSync, openSync, writeSync } from 'node:fs'

const bufferBytes = 1024 * 1024

/** A new file written from front to back, in pieces of 1 MiB; what is skipped reads as zeros. Synchronous: for worker threads. */
export class SequentialFile {
  readonly #fd: number
  readonly #buffer = Buffer.alloc(bufferBytes)
  #used = 0
  #flushed = 0

  constructor(file: string, mode: number) {
    this.#fd = openSync(file, 'wx', mode)
  }

  write(bytes: Uint8Array): void {
    for (let from = 0; from < bytes.length;) {
      const count = Math.min(bytes.length - from, bufferBytes - this.#used)
      this.#buffer.set(bytes.subarray(from, from + count), this.#used)
      this.#used += count
      from += count
      if (this.#used === bufferBytes) this.#flush()
    }
  }

  /** To the offset `at`, which is not behind what is written. */
  skipTo(at: number): void {
    const gap = at - this.#flushed - this.#used
    if (gap < 0) throw new Error(`Cannot go back to ${at} in a file that is written in order.`)
    if (this.#used + gap <= bufferBytes) {
      this.#buffer.fill(0, this.#used, this.#used + gap)
      this.#used += gap
      if (this.#used === bufferBytes) this.#flush()
    } else {
      this.#flush()
      this.#flushed = at
    }
  }

  /** Sets the file's size, with nothing on disk behind what was written, and waits for the disk. */
  finish(bytes: number): void {
    this.#flush()
    ftruncateSync(this.#fd, bytes)
    fsyncSync(this.#fd)
  }

  close(): void {
    closeSync(this.#fd)
  }

  #flush(): void {
    for (let from = 0; from < this.#used;)
      from += writeSync(this.#fd, this.#buffer, from, this.#used - from, this.#flushed + from)
    this.#flushed += this.#used
    this.#used = 0
  }
}
