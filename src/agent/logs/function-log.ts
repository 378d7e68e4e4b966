import type { LogLine } from '../../domain/agent.ts'
import type { Clock } from '../../domain/clock.ts'
import type { Logger } from '../../domain/logger.ts'
import { parseLines, recordText, type StreamCode } from './log-line.ts'
import { Segments, type SegmentLimits } from './segments.ts'

/** Lines reach the disk this much later at most; `tail` and `follow` see them at once. */
const flushMs = 50
/** A burst larger than this is written at once. */
const pendingCharsMax = 1024 * 1024
/** What a slow or full disk may keep waiting here; more is dropped and counted. */
const waitingBytesMax = 16 * 1024 * 1024
/** A follower with more unread lines than this reads on from disk. */
const followerLinesMax = 10_000
const readBytes = 256 * 1024

interface Chunk {
  readonly offset: number
  readonly bytes: Buffer
}

interface Follower {
  lines: LogLine[]
  isLagging: boolean
  wake: () => void
}

/** The log of one function. `append` is on the path of every invocation: it joins strings and nothing else. */
export class FunctionLog {
  readonly #segments: Segments
  readonly #clock: Clock
  readonly #logger: Logger
  readonly #followers = new Set<Follower>()
  #pending = ''
  /** Has an offset, is not known to be on disk. */
  #waiting: Chunk[] = []
  #waitingBytes = 0
  #droppedBytes = 0
  /** The last write failed: one line and one warning say so until a write succeeds again. */
  #isRefused = false
  #end = 0
  #loading: Promise<void> | null = null
  #isScheduled = false
  #isDeleted = false
  #writing: Promise<void> | null = null

  constructor(folder: string, options: { clock: Clock; logger: Logger; limits: SegmentLimits }) {
    this.#segments = new Segments(folder, options.limits)
    this.#clock = options.clock
    this.#logger = options.logger
  }

  append(time: number, code: StreamCode, line: { invocation: string | null; instance: string; text: string }): void {
    this.appendRecords(recordText(time, code, line))
  }

  /** Ready-made records, each ending in a newline. */
  appendRecords(records: string): void {
    if (this.#isDeleted) return
    this.#pending += records
    if (this.#isScheduled) {
      if (this.#pending.length > pendingCharsMax) void this.flush()
      return
    }
    this.#isScheduled = true
    this.#clock.schedule(flushMs, () => void this.flush())
  }

  /** Resolves when everything appended so far is on disk, or dropped because the disk refuses. Never rejects. */
  async flush(): Promise<void> {
    await this.#load()
    this.#seal()
    this.#writing ??= this.#write().finally(() => (this.#writing = null))
    await this.#writing
  }

  /** The last `count` lines, oldest first. */
  async tail(count: number): Promise<LogLine[]> {
    const { waiting, written } = await this.#snapshot()
    let lines = waiting.flatMap(({ offset, bytes }) => parseLines(bytes, offset))
    let from = written
    let rest: Buffer = Buffer.alloc(0)
    while (lines.length < count && from > this.#segments.start) {
      const to = from
      from = Math.max(this.#segments.start, to - readBytes)
      const bytes = await this.#readAll(from, to)
      if (bytes.length === 0) break
      const block = Buffer.concat([bytes, rest])
      // What stands before the first newline may be the end of a line that begins further back.
      const cut = from === this.#segments.start ? 0 : block.indexOf(10) + 1
      rest = block.subarray(0, cut)
      lines = [...parseLines(block.subarray(cut), from + cut), ...lines]
    }
    return count <= 0 ? [] : lines.slice(-count)
  }

  /** Lines that end after `fromOffset` (undefined: from now on), then new ones as they come, until `signal` aborts or the log is deleted. */
  async *follow(fromOffset: number | undefined, signal: AbortSignal): AsyncGenerator<LogLine> {
    const follower: Follower = { lines: [], isLagging: true, wake: () => {} }
    const onAbort = (): void => follower.wake()
    this.#followers.add(follower)
    signal.addEventListener('abort', onAbort)
    try {
      const place = { at: fromOffset ?? (await this.#snapshot()).end }
      while (!signal.aborted) {
        if (follower.isLagging) {
          if (this.#isDeleted) return
          follower.isLagging = false
          follower.lines = []
          for await (const line of this.#linesSince(place)) {
            if (signal.aborted) return
            place.at = line.offset
            yield line
          }
        }
        const lines = follower.lines
        follower.lines = []
        for (const line of lines) {
          if (line.offset <= place.at) continue
          place.at = line.offset
          yield line
        }
        if (follower.lines.length > 0 || follower.isLagging || signal.aborted) continue
        if (this.#isDeleted) return
        await new Promise<void>((resolve) => (follower.wake = resolve))
      }
    } finally {
      this.#followers.delete(follower)
      signal.removeEventListener('abort', onAbort)
    }
  }

  /** Its function is gone. Followers get what was said until then, and end; what is still said in its name goes nowhere. */
  async delete(): Promise<void> {
    await this.#load()
    this.#seal()
    this.#isDeleted = true
    this.#pending = ''
    for (const { wake } of this.#followers) wake()
    await this.#writing
    this.#waiting = []
    this.#waitingBytes = 0
    await this.#segments.delete()
  }

  /** Lines are shown before they are written: of one that a kill took, the offset is ahead of the log, and comes again with another line. Then `place` is put back to its end. */
  async *#linesSince(place: { at: number }): AsyncGenerator<LogLine> {
    const { waiting, written, end: logEnd } = await this.#snapshot()
    place.at = Math.min(place.at, logEnd)
    const from = place.at
    let at = Math.max(from, this.#segments.start)
    while (at < written) {
      const bytes = await this.#readAll(at, Math.min(written, at + readBytes * 4))
      const end = bytes.lastIndexOf(10) + 1
      if (end === 0) break
      yield* parseLines(bytes.subarray(0, end), at)
      at += end
    }
    for (const { offset, bytes } of waiting)
      for (const line of parseLines(bytes, offset)) if (line.offset > from) yield line
  }

  async #readAll(from: number, to: number): Promise<Buffer> {
    const parts: Buffer[] = []
    for await (const { bytes } of this.#segments.read(from, to)) parts.push(bytes)
    return Buffer.concat(parts)
  }

  async #snapshot(): Promise<{ waiting: Chunk[]; written: number; end: number }> {
    await this.#load()
    this.#seal()
    const written = this.#waiting[0]?.offset ?? this.#end
    return { waiting: [...this.#waiting], written, end: this.#end }
  }

  #load(): Promise<void> {
    this.#loading ??= this.#segments.load().then(
      () => void (this.#end = this.#segments.end),
      (error: unknown) => this.#logger.warn('log.load.failed', { error: String(error) }),
    )
    return this.#loading
  }

  /** Gives what is pending its offsets and shows it to the followers. */
  #seal(): void {
    this.#isScheduled = false
    if (this.#pending === '') return
    const bytes = Buffer.from(this.#pending)
    this.#pending = ''
    if (this.#waitingBytes + bytes.length > waitingBytesMax) {
      this.#droppedBytes += bytes.length
      return
    }
    const chunk = { offset: this.#end, bytes }
    this.#end += bytes.length
    this.#waiting.push(chunk)
    this.#waitingBytes += bytes.length
    if (this.#followers.size > 0) this.#show(parseLines(bytes, chunk.offset))
  }

  #show(lines: LogLine[]): void {
    for (const follower of this.#followers) {
      if (follower.lines.length + lines.length > followerLinesMax) follower.isLagging = true
      else follower.lines.push(...lines)
      follower.wake()
    }
  }

  async #write(): Promise<void> {
    const wasRefused = this.#isRefused
    for (let chunk = this.#waiting[0]; chunk !== undefined && !this.#isDeleted; chunk = this.#waiting[0]) {
      try {
        await this.#segments.append(chunk.bytes, chunk.offset)
        this.#isRefused = false
      } catch (error) {
        this.#droppedBytes += chunk.bytes.length
        if (!this.#isRefused) this.#logger.warn('log.write.failed', { error: String(error), bytes: chunk.bytes.length })
        this.#isRefused = true
      }
      this.#waiting.shift()
      this.#waitingBytes -= chunk.bytes.length
    }
    if (this.#droppedBytes === 0 || (this.#isRefused && wasRefused)) return
    const text = `[hearth] dropped ${this.#droppedBytes} bytes of log output: the disk did not take them`
    // What the disk does not take now is counted again when it takes something.
    if (!this.#isRefused) this.#droppedBytes = 0
    this.append(this.#clock.nowMs(), 'p', { invocation: null, instance: '-', text })
  }
}
