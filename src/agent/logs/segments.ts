import { appendFile, mkdir, open, readdir, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'

export interface Segment {
  /** Logical offset of its first byte: also its file name. */
  readonly start: number
  bytes: number
}

export interface SegmentLimits {
  readonly segmentBytes: number
  readonly segmentsMax: number
}

/** The files of one log. Offsets count every byte ever appended: they go on across rotation and restarts, a read of what was rotated
 *  away finds nothing. A file begins at a line's beginning. One writer; readers at any time. */
export class Segments {
  readonly #folder: string
  readonly #limits: SegmentLimits
  #list: Segment[] = []
  #isFresh = true

  constructor(folder: string, limits: SegmentLimits) {
    this.#folder = folder
    this.#limits = limits
  }

  get start(): number {
    return this.#list[0]?.start ?? this.end
  }

  get end(): number {
    const last = this.#list.at(-1)
    return last === undefined ? 0 : last.start + last.bytes
  }

  /** Finds what an earlier process left; half a line at its end becomes a line. */
  async load(): Promise<void> {
    const names = await readdir(this.#folder).catch(() => [])
    for (const name of names.filter((each) => /^\d{16}\.log$/.test(each)).toSorted()) {
      const { size } = await stat(join(this.#folder, name))
      this.#list.push({ start: Number(name.slice(0, 16)), bytes: size })
    }
    const last = this.#list.at(-1)
    if (last === undefined || last.bytes === 0) return
    const end = await this.#slice(last, this.end - 1, this.end)
    if (end[0] === 10) return
    await appendFile(this.#path(last), '\n')
    last.bytes++
  }

  /** Adds `bytes`, whole lines, at logical `offset`, which is `end` or beyond. After a failure the next bytes begin a new file. */
  async append(bytes: Buffer, offset: number): Promise<void> {
    const segment = await this.#segmentFor(bytes.length, offset)
    try {
      await appendFile(this.#path(segment), bytes, { mode: 0o640 })
      segment.bytes += bytes.length
    } catch (error) {
      this.#isFresh = true
      throw error
    }
  }

  /** Bytes `[from, to)`, as far as they still exist; `offset` is where the first one lies. */
  async *read(from: number, to: number): AsyncGenerator<{ offset: number; bytes: Buffer }> {
    for (const segment of [...this.#list]) {
      const begin = Math.max(from, segment.start)
      const end = Math.min(to, segment.start + segment.bytes)
      if (begin < end) yield { offset: begin, bytes: await this.#slice(segment, begin, end) }
    }
  }

  async delete(): Promise<void> {
    this.#list = []
    this.#isFresh = true
    await rm(this.#folder, { recursive: true, force: true })
  }

  async #segmentFor(bytes: number, offset: number): Promise<Segment> {
    const last = this.#list.at(-1)
    const hasRoom = last !== undefined && last.bytes + bytes <= this.#limits.segmentBytes
    if (hasRoom && !this.#isFresh && this.end === offset) return last
    if (this.#isFresh) await mkdir(this.#folder, { recursive: true })
    this.#isFresh = false
    const segment = { start: offset, bytes: 0 }
    this.#list.push(segment)
    while (this.#list.length > this.#limits.segmentsMax) {
      const oldest = this.#list.shift()
      if (oldest !== undefined) await rm(this.#path(oldest), { force: true })
    }
    return segment
  }

  async #slice(segment: Segment, from: number, to: number): Promise<Buffer> {
    const bytes = Buffer.alloc(to - from)
    try {
      const file = await open(this.#path(segment), 'r')
      try {
        const { bytesRead } = await file.read(bytes, 0, bytes.length, from - segment.start)
        return bytes.subarray(0, bytesRead)
      } finally {
        await file.close()
      }
    } catch (error) {
      // Rotated away while it was being read.
      if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return bytes.subarray(0, 0)
      throw error
    }
  }

  #path(segment: Segment): string {
    return join(this.#folder, `${String(segment.start).padStart(16, '0')}.log`)
  }
}
