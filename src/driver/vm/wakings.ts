import { availableParallelism } from 'node:os'
import { AppError } from '../../domain/error.ts'
import { takeOver, type Guest } from './handshake.ts'
import type { Machine } from './vmm.ts'

/** A guest answers in 10 to 100 ms; emulated, beside others on a busy machine, in a second or two. */
const wakeMsMax = 10_000

/** First words to machines of an earlier platform, some at a time: a guest that wakes keeps a core busy, and with all at once none would answer in time. */
export class Wakings {
  #free = availableParallelism() + 1
  readonly #waiting: (() => void)[] = []

  /** Throws timeout when its guest does not answer; it is killed then. */
  async wake(machine: Machine, of: { instanceId: string; epoch: string }): Promise<Guest> {
    if (this.#free > 0) this.#free--
    else await new Promise<void>((resolve) => this.#waiting.push(resolve))
    try {
      return await wakeOne(machine, of)
    } finally {
      const next = this.#waiting.shift()
      if (next === undefined) this.#free++
      else next()
    }
  }
}

async function wakeOne(machine: Machine, of: { instanceId: string; epoch: string }): Promise<Guest> {
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
