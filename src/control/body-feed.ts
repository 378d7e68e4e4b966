import type { ExecuteCall } from '../domain/agent.ts'
import type { RequestSource } from '../domain/control.ts'

/** Hands a request body that is not in memory on to whoever executes it. Nothing is taken of it before there is an Instance, so that an attempt that
 *  was refused can be made again. */
export class BodyFeed {
  bytes = 0
  readonly #source: RequestSource
  #call: ExecuteCall | null = null
  #isWanted = false
  #isOpen = false
  #isClosed = false

  constructor(source: RequestSource) {
    this.#source = source
  }

  /** `call` takes the body, from now on or from `open` on. */
  connect(call: ExecuteCall): void {
    this.#call = call
    this.#tryOpen()
  }

  /** There is an Instance; it may be known before `execute` returns. */
  open(): void {
    this.#isWanted = true
    this.#tryOpen()
  }

  taken(bytes: number): void {
    if (this.#isOpen && !this.#isClosed) this.#source.taken(bytes)
  }

  close(): void {
    this.#isClosed = true
  }

  #tryOpen(): void {
    const call = this.#call
    if (call === null || !this.#isWanted || this.#isOpen) return
    this.#isOpen = true
    this.#source.open((chunk, last) => {
      if (this.#isClosed) return
      this.bytes += chunk.length
      call.send({ type: 'data', chunk, last })
    })
  }
}
