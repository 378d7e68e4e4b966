/** Time comes in through the door, so that a scheduler test runs hours in milliseconds.
 *  `nowMs` is wall time (epoch ms, may jump); `monotonicMs` never goes back and has sub-millisecond parts. */
export interface Clock {
  nowMs(): number
  monotonicMs(): number
  /** Calls `fire` once after `delayMs`; the timer never keeps the process alive. */
  schedule(delayMs: number, fire: () => void): Timer
}

export interface Timer {
  cancel(): void
}

export const systemClock: Clock = {
  nowMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  schedule(delayMs, fire) {
    const handle = setTimeout(fire, delayMs)
    handle.unref()
    return { cancel: () => clearTimeout(handle) }
  },
}

/** A clock that moves only when told: for tests and simulation. Timers fire in order of their due time. */
export class ManualClock implements Clock {
  #nowMs: number
  #monotonicMs = 0
  #timers: { dueMs: number; fire: () => void }[] = []

  constructor(nowMs = Date.UTC(2026, 0, 1)) {
    this.#nowMs = nowMs
  }

  nowMs(): number {
    return this.#nowMs
  }

  monotonicMs(): number {
    return this.#monotonicMs
  }

  schedule(delayMs: number, fire: () => void): Timer {
    const timer = { dueMs: this.#monotonicMs + Math.max(0, delayMs), fire }
    this.#timers.push(timer)
    return {
      cancel: () => {
        this.#timers = this.#timers.filter((other) => other !== timer)
      },
    }
  }

  /** Moves both clocks by `byMs`, firing what falls due on the way. */
  advance(byMs: number): void {
    const untilMs = this.#monotonicMs + byMs
    for (;;) {
      const due = this.#timers.filter((timer) => timer.dueMs <= untilMs).sort((a, b) => a.dueMs - b.dueMs)[0]
      if (due === undefined) break
      this.#timers = this.#timers.filter((timer) => timer !== due)
      this.#step(Math.max(0, due.dueMs - this.#monotonicMs))
      due.fire()
    }
    this.#step(untilMs - this.#monotonicMs)
  }

  /** Moves the wall clock alone, as an NTP step or an operator would. */
  jumpWall(byMs: number): void {
    this.#nowMs += byMs
  }

  #step(byMs: number): void {
    this.#monotonicMs += byMs
    this.#nowMs += byMs
  }
}
