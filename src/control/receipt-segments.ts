import type { Receipt } from '../domain/invocation.ts'
import { isMissing } from '../domain/is-missing.ts'
import type { Logger } from '../domain/logger.ts'
import { decodeLine } from './receipt-line.ts'
import { createReadStream } from 'node:fs'
import { mkdir, open, readdir, rm, stat } from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import { join } from 'node:path'

export interface SegmentLimits {
  /** All segments together. */
  readonly bytesMax: number
  /** A segment whose newest receipt is older goes. */
  readonly ageMaxMs: number
  readonly segmentBytes: number
}

interface Segment {
  readonly name: string
  /** When its first receipt was appended. */
  readonly startMs: number
  bytes: number
}

const namePattern = /^(\d{13})-\d{6}\.ndjson$/

/** How much of a segment is in memory at a time, and searched in one go (0.1 ms). */
const readBytes = 256 * 1024

/** Looking through this much takes 0.2 s of the loop's time, in pieces of a millisecond. */
const scanBytesMax = 128 * 1024 * 1024

/** The files of a receipt log: `<epoch ms of the first receipt>-<sequence>.ndjson`, lines as in `receipt-line.ts`. Appended to by
 *  one writer, bounded in size and age, read while it is written. Nothing is fsynced: a power cut may take the newest. */
export class ReceiptSegments {
  /** Lines cut short by a crash, or unreadable. */
  tornLines = 0
  readonly #folder: string
  readonly #limits: SegmentLimits
  readonly #logger: Logger
  #segments: Segment[] = []
  #sequence = 0
  #handle: FileHandle | undefined
  /** The last segment takes no more lines, because a write to it failed. */
  #isRetired = false

  private constructor(folder: string, limits: SegmentLimits, logger: Logger) {
    this.#folder = folder
    this.#limits = limits
    this.#logger = logger
  }

  static async open(folder: string, limits: SegmentLimits, logger: Logger, nowMs: number): Promise<ReceiptSegments> {
    await mkdir(folder, { recursive: true })
    const segments = new ReceiptSegments(folder, limits, logger)
    const names = (await readdir(folder)).filter((name) => namePattern.test(name)).toSorted(bySequence)
    for (const name of names) {
      const { size } = await stat(join(folder, name))
      segments.#segments.push({ name, startMs: Number(name.slice(0, 13)), bytes: size })
      segments.#sequence = sequenceOf(name)
    }
    await segments.#cutTornTail()
    await segments.#prune(nowMs)
    return segments
  }

  /** Appends whole lines. A segment that is full, or holds a seventh of the age limit, is followed by a new one. */
  async append(lines: Buffer, nowMs: number): Promise<void> {
    try {
      const segment = await this.#segmentFor(lines.length, nowMs)
      await this.#handle?.appendFile(lines)
      segment.bytes += lines.length
    } catch (error) {
      // What part of the lines was written is unknown: the next append starts a new segment.
      await this.#retire()
      throw error
    }
  }

  /** The receipt of invocation `id`, in segments written from `fromMs` to `toMs`. */
  async find(id: string, { fromMs, toMs }: { fromMs: number; toMs: number }): Promise<Receipt | null> {
    const needle = Buffer.from(JSON.stringify(id))
    const candidates = this.#segments.filter((segment, i) => {
      const endMs = this.#segments[i + 1]?.startMs ?? Infinity
      return endMs >= fromMs && segment.startMs <= toMs
    })
    for (const segment of candidates) {
      for await (const lines of this.#read(segment)) {
        const found = this.parseLineWith(lines, needle).find((receipt) => receipt.id === id)
        if (found !== undefined) return found
      }
    }
    return null
  }

  /** The receipts of every line that holds `needle`, newest first; looks back `scanBytesMax` at most. */
  async *newestFirst(needle: Buffer): AsyncGenerator<Receipt> {
    let scannedBytes = 0
    for (const segment of this.#segments.toReversed()) {
      scannedBytes += segment.bytes
      if (scannedBytes > scanBytesMax && segment !== this.#segments.at(-1)) return
      const pieces: Buffer[] = []
      for await (const lines of this.#read(segment)) pieces.push(lines)
      for (const lines of pieces.toReversed()) {
        for (const line of splitLines(lines).toReversed()) {
          if (line.includes(needle)) yield* this.#parse(line).toReversed()
        }
        await turn()
      }
    }
  }

  /** The receipts of the first line in `lines` that holds `needle`. */
  parseLineWith(lines: Buffer, needle: Buffer): readonly Receipt[] {
    const at = lines.indexOf(needle)
    if (at === -1) return []
    const start = lines.lastIndexOf(newline, at) + 1
    const end = lines.indexOf(newline, at)
    return this.#parse(lines.subarray(start, end === -1 ? lines.length : end))
  }

  async close(): Promise<void> {
    await this.#handle?.close()
    this.#handle = undefined
  }

  async #segmentFor(bytes: number, nowMs: number): Promise<Segment> {
    const last = this.#segments.at(-1)
    const { segmentBytes, ageMaxMs } = this.#limits
    const isFull = last !== undefined && last.bytes > 0 && last.bytes + bytes > segmentBytes
    const isOld = last !== undefined && nowMs - last.startMs > ageMaxMs / 7
    if (last !== undefined && !isFull && !isOld && !this.#isRetired) {
      this.#handle ??= await open(join(this.#folder, last.name), 'a', 0o600)
      return last
    }
    await this.#retire()
    this.#sequence++
    const name = `${String(nowMs).padStart(13, '0')}-${String(this.#sequence).padStart(6, '0')}.ndjson`
    this.#handle = await open(join(this.#folder, name), 'ax', 0o600)
    this.#isRetired = false
    const segment = { name, startMs: nowMs, bytes: 0 }
    this.#segments.push(segment)
    await this.#prune(nowMs)
    return segment
  }

  async #retire(): Promise<void> {
    this.#isRetired = true
    await this.close()
  }

  async #prune(nowMs: number): Promise<void> {
    const { bytesMax, ageMaxMs, segmentBytes } = this.#limits
    let total = this.#segments.reduce((sum, segment) => sum + segment.bytes, 0)
    while (this.#segments.length > 1) {
      const [oldest, next] = this.#segments
      if (oldest === undefined || next === undefined) return
      const isTooMuch = total + segmentBytes > bytesMax
      const isTooOld = nowMs - next.startMs > ageMaxMs
      if (!isTooMuch && !isTooOld) return
      this.#segments.shift()
      total -= oldest.bytes
      await rm(join(this.#folder, oldest.name), { force: true })
    }
  }

  /** A crash may have left the last line of the last segment half written: it goes, and is counted. */
  async #cutTornTail(): Promise<void> {
    const last = this.#segments.at(-1)
    if (last === undefined || last.bytes === 0) return
    let wholeBytes = 0
    for await (const lines of this.#read(last)) wholeBytes += lines.length + 1
    if (wholeBytes === last.bytes) return
    this.tornLines++
    this.#logger.warn('receipts.tail.torn', { segment: last.name, lostBytes: last.bytes - wholeBytes })
    const handle = await open(join(this.#folder, last.name), 'r+')
    await handle.truncate(wholeBytes).finally(() => handle.close())
    last.bytes = wholeBytes
  }

  /** Whole lines of a segment, some at a time, each lot without its last newline. */
  async *#read(segment: Segment): AsyncGenerator<Buffer> {
    let rest = Buffer.alloc(0)
    try {
      for await (const chunk of createReadStream(join(this.#folder, segment.name), { highWaterMark: readBytes })) {
        const bytes: Buffer = rest.length === 0 ? chunk : Buffer.concat([rest, chunk])
        const end = bytes.lastIndexOf(newline)
        if (end !== -1) yield bytes.subarray(0, end)
        rest = Buffer.from(bytes.subarray(end + 1))
      }
    } catch (error) {
      // Pruned while it was about to be read: its receipts are past their time.
      if (!isMissing(error)) throw error
    }
  }

  #parse(line: Buffer): Receipt[] {
    try {
      return decodeLine(line.toString())
    } catch {
      this.tornLines++
      return []
    }
  }
}

const newline = 0x0a

function splitLines(lines: Buffer): Buffer[] {
  const found: Buffer[] = []
  for (let start = 0; start <= lines.length;) {
    const end = lines.indexOf(newline, start)
    found.push(lines.subarray(start, end === -1 ? lines.length : end))
    start = end === -1 ? lines.length + 1 : end + 1
  }
  return found
}

function sequenceOf(name: string): number {
  return Number(name.slice(14, 20))
}

function bySequence(a: string, b: string): number {
  return sequenceOf(a) - sequenceOf(b)
}

function turn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve)
  })
}
