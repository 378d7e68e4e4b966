import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs'
import net from 'node:net'
import { AppError } from '../../domain/error.ts'

/** Read in one second, at most: a VMM that its guest has taken over may write without end. What it writes meanwhile it finds no room for. */
const secondBytesMax = 256 * 1024
/** What a pipe holds, and some: more is not there when its writer has ended. */
const restBytesMax = 1024 * 1024

/** The last of what a VMM writes to a named pipe, read as it comes. A pipe takes no disk and never ends the VMM for its size, as a file does that is
 *  written to for weeks; lines that nobody reads in time are dropped, by a VMM that opened it without blocking. Source: Firecracker docs/logger. */
export class PipeTail {
  readonly #bytesMax: number
  readonly #fd: number
  readonly #stream: net.Socket
  #tail = Buffer.alloc(0)
  #leftBytes = secondBytesMax
  #refill: NodeJS.Timeout | null = null

  private constructor(fd: number, bytesMax: number) {
    this.#bytesMax = bytesMax
    this.#fd = fd
    this.#stream = new net.Socket({ fd, readable: true, writable: false })
    this.#stream.on('data', (bytes: Buffer) => this.#take(bytes))
    // The last that was read stays what it is.
    this.#stream.on('error', () => {})
    this.#stream.unref()
  }

  /** Of the pipe `path`, keeping its last `bytesMax`. Throws driver_failed for what is no pipe, or what `open` throws. */
  static open(path: string, bytesMax: number): PipeTail {
    // As a writer too: it never ends while its VMM lives, whoever else has it open.
    const fd = openSync(path, constants.O_RDWR | constants.O_NONBLOCK | constants.O_NOFOLLOW)
    if (fstatSync(fd).isFIFO()) return new PipeTail(fd, bytesMax)
    closeSync(fd)
    throw new AppError('driver_failed', `"${path}" is no pipe.`)
  }

  read(): string {
    return this.#tail.toString()
  }

  /** When its writer has ended: reads what is left, and closes it. */
  close(): void {
    if (this.#stream.destroyed) return
    if (this.#refill !== null) clearTimeout(this.#refill)
    this.#stream.pause()
    const buffer = Buffer.alloc(64 * 1024)
    for (let count = 0; count < restBytesMax;) {
      const read = this.#readNow(buffer)
      if (read === 0) break
      this.#keep(buffer.subarray(0, read))
      count += read
    }
    this.#stream.destroy()
  }

  /** Bytes; 0 when there are none. */
  #readNow(buffer: Buffer): number {
    try {
      return readSync(this.#fd, buffer)
    } catch {
      return 0
    }
  }

  #take(bytes: Buffer): void {
    this.#keep(bytes)
    this.#leftBytes -= bytes.length
    this.#refill ??= setTimeout(() => this.#goOn(), 1_000).unref()
    if (this.#leftBytes <= 0) this.#stream.pause()
  }

  #goOn(): void {
    this.#refill = null
    this.#leftBytes = secondBytesMax
    this.#stream.resume()
  }

  #keep(bytes: Buffer): void {
    const kept = Math.max(0, this.#bytesMax - bytes.length)
    const before = this.#tail.subarray(Math.max(0, this.#tail.length - kept))
    this.#tail = Buffer.concat([before, bytes.subarray(Math.max(0, bytes.length - this.#bytesMax))])
  }
}
