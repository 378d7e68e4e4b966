export interface RawOutputHost {
  /** Resolves when all raw output written until now has come in: true; or after a while without knowing: false. Never rejects. */
  drained(): Promise<boolean>
  /** Keeps back what is sent to the runtime, and lets it go. */
  hold(): void
  release(): void
  /** Shows raw lines that have no end yet. */
  flush(): void
  /** How long ago an invocation ended last. */
  sinceEndMs(): number
}

/** Raw output is not expected to be on its way for longer. */
const lateMsMax = 50

/** Whose the raw output of an Instance is: what its programs write to descriptors 1 and 2 past their runtime. It comes over the supervisor's channel, a result over the runtime's: so
 *  a line may come after the result of its invocation, and after the next INVOKE. Once an Instance wrote such output, the supervisor is therefore asked at the end of each
 *  invocation to send what it has, beside the answer, and the next INVOKE leaves when it has done so. One whose first invocation wrote none is not asked again before it writes some; should that
 *  come right behind the end of another invocation, it counts as nobody's.
 *
 *    clean --begin--> running --end--> draining --drained--> clean
 *             ^          |                 \---begin: INVOKE is held until drained---> running
 *             \---end, begin: writes none--/                                                          */
export class RawOutput {
  readonly #host: RawOutputHost
  /** It wrote some, or its first invocation is not over yet. */
  #mayWrite = true
  #hasWritten = false
  /** Nothing that was written before can still come. */
  #isClean = true
  #isRunning = false
  #owner: string | null = null
  /** What runs began when output of another could still come. */
  #isDoubtful = false
  #draining: Promise<void> | null = null
  /** What waits for the draining: an invocation, null for several, undefined for none. */
  #next: string | null | undefined

  constructor(host: RawOutputHost) {
    this.#host = host
  }

  /** Invocation `id` is about to be sent. `isAlone`: nothing else runs. `isPrivate`: it must not get a line of another. */
  begin(id: string, { isAlone, isPrivate }: { isAlone: boolean; isPrivate: boolean }): void {
    this.#isRunning = true
    if (isAlone && !this.#isClean && (this.#mayWrite || isPrivate)) void this.#drain()
    if (this.#draining !== null) {
      this.#next = isAlone ? id : null
      return this.#host.hold()
    }
    this.#isDoubtful = isAlone && !this.#isClean
    this.#owner = isAlone ? id : null
    this.#isClean = false
  }

  /** Nothing runs any more. */
  end(): void {
    this.#isRunning = false
    this.#next = undefined
    if (this.#isClean) this.#owner = null
    else if (this.#mayWrite) void this.#drain()
  }

  /** Some came: the invocation that wrote it, null when that is not known. */
  ownerNow(): string | null {
    this.#mayWrite = true
    // What it says while it loads tells nothing of its invocations.
    this.#hasWritten ||= this.#isRunning || !this.#isClean
    const owner = this.#isDoubtful && this.#host.sinceEndMs() < lateMsMax ? null : this.#owner
    if (!this.#isRunning && !this.#isClean) void this.#drain()
    return owner
  }

  /** Resolves when what was written until now has come in, or after a short while. `isAlone`: one thing runs. */
  async settled(isAlone: boolean): Promise<void> {
    await (isAlone ? this.#drain() : this.#host.drained())
  }

  #drain(): Promise<void> {
    this.#draining ??= this.#host.drained().then((isDrained) => this.#onDrained(isDrained))
    return this.#draining
  }

  #onDrained(isDrained: boolean): void {
    this.#draining = null
    this.#host.flush()
    if (isDrained) this.#mayWrite = this.#hasWritten
    const next = this.#next
    this.#next = undefined
    // Without knowing it is better nobody's than another's.
    this.#owner = isDrained ? (next ?? null) : null
    this.#isDoubtful = false
    this.#isClean = isDrained && next === undefined
    this.#host.release()
  }
}
