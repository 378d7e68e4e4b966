import { availableParallelism } from 'node:os'
import { AppError } from '../../domain/error.ts'
import { takeOver, type Guest } from './handshake.ts'
import type { Machine } from './vmm.ts'

/** A guest answers in 10 to 100 ms; emulated, beside others on a busy machine, in a second or two. */
const wakeMsMax = 10_000

/** One that has not answered by then is busy, or does not want to: others need not wait for it. */
const turnMsMax = 1_500

/** First words to machines of an earlier platform, some at a time: a guest that wakes keeps a core busy, and with all at once none would answer in time. */
export class Wakings {
  #free: number
  readonly #waiting: (() => void)[] = []

  constructor(atOnce = availableParallelism() + 1) {
    this.#free = atOnce
  }

  /** Resolves when it is this machine's turn, with what ends it; it ends by itself soon after. Throws the reason of `signal`. */
  async turn(signal?: AbortSignal): Promise<() => void> {
    if (this.#free > 0) this.#free--
    else await new Promise<void>((resolve) => this.#waiting.push(resolve))
    let isOver = false
    const end = (): void => {
      if (isOver) return
      isOver = true
      clearTimeout(timer)
      const next = this.#waiting.shift()
      if (next === undefined) this.#free++
      else next()
    }
    const timer = setTimeout(end, turnMsMax)
    if (signal?.aborted === true) {
      end()
      throw signal.reason
    }
    return end
  }
}

/** First words to a machine of an earlier platform. Throws timeout when its guest does not answer; it is killed then. */
export async function wake(machine: Machine, of: { instanceId: string; epoch: string }): Promise<Guest> {
  let isLate = false
  const timer = setTimeout(() => {
    isLate = true
    void machine.kill().catch(() => {})
  }, wakeMsMax)
  try {
    return await takeOver(machine, of)
  } catch (cause) {
    throw isLate ? new AppError('timeout', `Its guest did not answer within ${wakeMsMax} ms.`, { cause }) : cause
  } finally {
    clearTimeout(timer)
  }
}
