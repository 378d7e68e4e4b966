import type { Clock, Timer } from '../domain/clock.ts'
import type { Receipt } from '../domain/invocation.ts'
import type { Logger } from '../domain/logger.ts'
import { encodeLine } from './receipt-line.ts'
import { ReceiptSegments } from './receipt-segments.ts'
import type { SegmentLimits } from './receipt-segments.ts'

export interface ReceiptLogOptions extends Partial<SegmentLimits> {
  readonly folder: string
  readonly clock: Clock
  readonly logger: Logger
}

const defaultLimits: SegmentLimits = {
  bytesMax: 1024 * 1024 * 1024,
  ageMaxMs: 7 * 24 * 3_600_000,
  segmentBytes: 16 * 1024 * 1024,
}

/** What a kill may take: receipts are records, not promises (accepted durable work has its journal). */
const flushMs = 100

/** Receipts in one line: serialising it takes 0.1 ms. */
const lineReceipts = 64

/** Longest turn of serialising: the invoke loop goes on in between. */
const sliceMsMax = 1

/** Bytes handed to one write. */
const writeBytes = 256 * 1024

/** Flushed lines kept in memory for `find` and `recent`: about the last 25,000 receipts, as bytes outside the heap. */
const keptBytesMax = 8 * 1024 * 1024

/** Receipts that may wait for a stuck disk, about 100 MB; beyond, new ones are dropped and counted. */
const pendingMax = 100_000

/** An invocation's receipt is written at most this long after its id was made (300 s timeout, 900 s through the Lambda API, queueing). */
const lifeMaxMs = 3_600_000

/** Wall clocks step back; ids and segment names carry wall time. */
const clockSlackMs = 60_000

/** Opens the receipts in `folder`. */
export async function openReceiptLog({ folder, clock, logger, ...limits }: ReceiptLogOptions): Promise<ReceiptLog> {
  const segments = await ReceiptSegments.open(folder, { ...defaultLimits, ...limits }, logger, clock.nowMs())
  return new ReceiptLog(segments, clock, logger)
}

/** Every invocation's record, for a week or a GiB. `append` costs an array push; everything else happens every 100 ms, in slices.
 *
 *    append -> pending -> flushing -> kept (memory) and segments (disk) */
export class ReceiptLog {
  readonly #segments: ReceiptSegments
  readonly #clock: Clock
  readonly #logger: Logger
  #pending: Receipt[] = []
  #flushing: readonly Receipt[] = []
  #kept: { readonly writtenMs: number; readonly lines: Buffer }[] = []
  #keptBytes = 0
  #dropped = 0
  #timer: Timer | undefined
  #flushed: Promise<void> = Promise.resolve()

  constructor(segments: ReceiptSegments, clock: Clock, logger: Logger) {
    this.#segments = segments
    this.#clock = clock
    this.#logger = logger
  }

  /** Takes the receipt over; the caller no longer changes it. */
  append(receipt: Receipt): void {
    if (this.#pending.length >= pendingMax) this.#dropped++
    else this.#pending.push(receipt)
    this.#timer ??= this.#clock.schedule(flushMs, () => {
      void this.flush()
    })
  }

  /** The receipt of invocation `id` (a UUIDv7, whose time says which segments to read), or null. */
  async find(id: string): Promise<Receipt | null> {
    const createdMs = timeOf(id)
    if (createdMs === undefined) return null
    const inMemory =
      this.#pending.findLast((receipt) => receipt.id === id) ?? this.#flushing.find((receipt) => receipt.id === id)
    if (inMemory !== undefined) return inMemory
    const needle = Buffer.from(JSON.stringify(id))
    for (const { writtenMs, lines } of this.#kept.toReversed()) {
      // Written before it began. (After a clock's step back this may be wrong; the segments still have it.)
      if (writtenMs < createdMs) break
      const found = this.#segments.parseLineWith(lines, needle).find((receipt) => receipt.id === id)
      if (found !== undefined) return found
    }
    return this.#segments.find(id, { fromMs: createdMs - clockSlackMs, toMs: createdMs + lifeMaxMs + clockSlackMs })
  }

  /** The last receipts of the function, or of all of the project, newest first: out of the newest 128 MiB, about 400,000 receipts of all functions together. */
  async recent(project: string, functionName: string | null, limit: number): Promise<readonly Receipt[]> {
    const found = new Map<string, Receipt>()
    const take = (receipt: Receipt): void => {
      const isMeant = functionName === null || receipt.function === functionName
      if (receipt.project === project && isMeant) found.set(receipt.id, receipt)
    }
    for (const receipts of [this.#pending.slice(), this.#flushing]) {
      for (let i = receipts.length - 1; i >= 0 && found.size < limit; i--) {
        const receipt = receipts[i]
        if (receipt !== undefined) take(receipt)
      }
    }
    // What is flushed meanwhile may come twice: the map keeps one.
    const written = this.#segments.newestFirst(Buffer.from(JSON.stringify(functionName ?? project)))
    if (found.size < limit) {
      for await (const receipt of written) {
        take(receipt)
        if (found.size >= limit) break
      }
    }
    return [...found.values()]
  }

  /** Receipts lost: lines torn by a crash, and receipts dropped because the disk did not take them. */
  losses(): { tornLines: number; droppedReceipts: number } {
    return { tornLines: this.#segments.tornLines, droppedReceipts: this.#dropped }
  }

  /** Resolves when everything appended so far is written (not fsynced) or dropped. */
  flush(): Promise<void> {
    this.#timer?.cancel()
    this.#timer = undefined
    this.#flushed = this.#flushed.then(() => this.#writePending())
    return this.#flushed
  }

  async close(): Promise<void> {
    await this.flush()
    await this.#segments.close()
  }

  async #writePending(): Promise<void> {
    const batch = this.#pending
    if (batch.length === 0) return
    this.#pending = []
    this.#flushing = batch
    try {
      for await (const lines of linesOf(batch)) await this.#write(lines)
    } catch (error) {
      // Those already written are counted too: which they are is not known.
      this.#dropped += batch.length
      this.#logger.error('receipts.dropped', { receipts: batch.length, reason: String(error) })
    }
    this.#flushing = []
  }

  async #write(lines: Buffer): Promise<void> {
    const writtenMs = this.#clock.nowMs()
    await this.#segments.append(lines, writtenMs)
    this.#kept.push({ writtenMs, lines })
    this.#keptBytes += lines.length
    while (this.#keptBytes > keptBytesMax) this.#keptBytes -= this.#kept.shift()?.lines.length ?? 0
  }
}

/** Lines of `receipts` in lots of about `writeBytes`, giving the loop a turn after each millisecond of work. */
async function* linesOf(receipts: readonly Receipt[]): AsyncGenerator<Buffer> {
  let lines = ''
  let sliceStartMs = performance.now()
  for (let i = 0; i < receipts.length; i += lineReceipts) {
    lines += `${encodeLine(receipts.slice(i, i + lineReceipts))}\n`
    if (lines.length >= writeBytes) {
      yield Buffer.from(lines)
      lines = ''
    }
    if (performance.now() - sliceStartMs < sliceMsMax) continue
    await new Promise((resolve) => {
      setImmediate(resolve)
    })
    sliceStartMs = performance.now()
  }
  if (lines !== '') yield Buffer.from(lines)
}

/** Epoch ms inside a UUIDv7, or undefined for anything else. */
function timeOf(id: string): number | undefined {
  const isUuid = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/.test(id)
  return isUuid ? Number.parseInt(id.slice(0, 8) + id.slice(9, 13), 16) : undefined
}
