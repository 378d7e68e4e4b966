import type { InvokeReply, ReplySink, ReplyStart } from '../domain/control.ts'

export const emptyBody = new Uint8Array(0)
/** The consumer's credit is given back in steps, as on the wire. */
const creditStepBytes = 65_536

/** What comes of one reply: kept until it is whole, or handed to the caller's sink, which gives credit by itself. */
export class ReplyIntake {
  readonly bytesMax: number
  bytes = 0
  head: InvokeReply['head'] = null
  readonly #sink: ReplySink | undefined
  #isBegun = false
  #chunks: Uint8Array[] = []
  #owedCredit = 0

  constructor(bytesMax: number, sink: ReplySink | undefined) {
    this.bytesMax = bytesMax
    this.#sink = sink
  }

  /** More came than anybody takes. */
  get isOver(): boolean {
    return this.bytes > this.bytesMax
  }

  /** Counts what comes; false drops all that is kept. */
  hasRoom(bytes: number): boolean {
    this.bytes += bytes
    if (!this.isOver) return true
    this.#chunks = []
    return false
  }

  get isToBegin(): boolean {
    return this.#sink !== undefined && !this.#isBegun
  }

  begin(known: Omit<ReplyStart, 'head'>, credit: (bytes: number) => void): void {
    this.#isBegun = true
    this.#sink?.begin({ ...known, head: this.head }, credit)
  }

  /** Returns the credit to give back now. */
  take(chunk: Uint8Array): number {
    if (this.#sink !== undefined) {
      this.#sink.data(chunk)
      return 0
    }
    this.#chunks.push(chunk)
    this.#owedCredit += chunk.length
    if (this.#owedCredit < creditStepBytes) return 0
    const owed = this.#owedCredit
    this.#owedCredit = 0
    return owed
  }

  /** What the sink has not had. */
  wholeHead(): InvokeReply['head'] {
    return this.#isBegun ? null : this.head
  }

  wholeBody(): Uint8Array {
    const [first] = this.#chunks
    if (first === undefined) return emptyBody
    return this.#chunks.length === 1 ? first : Buffer.concat(this.#chunks, this.bytes)
  }
}
