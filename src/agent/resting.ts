import type { FunctionConfig } from '../domain/function.ts'
import type { Instance } from './instance.ts'
import { restAction } from './rest-policy.ts'

/** The idle Instances of one Version, most recently used last; says which of them are to be frozen or reaped, and when to look again. */
export class Resting {
  #idle: Instance[] = []
  #prepared = { min: 0, untilMs: 0 }

  add(instance: Instance): void {
    this.#idle.push(instance)
  }

  remove(instance: Instance): void {
    this.#idle = this.#idle.filter((other) => other !== instance)
  }

  /** The one used last. What is passed over here is on its way out: its end is told by `onDead`. */
  take(): Instance | null {
    let instance = this.#idle.pop()
    while (instance?.isReachable === false) instance = this.#idle.pop()
    return instance ?? null
  }

  /** Used least recently; null when none may go, of `live` in all: those that are to be there would come again at once. */
  oldest(live: number, nowMs: number): Instance | null {
    if (live <= this.prepared(nowMs)) return null
    return this.#idle.find((instance) => instance.openWork === 0) ?? null
  }

  /** `min` Instances are wanted until then, whether anybody calls or not. */
  prepare(min: number, untilMs: number): void {
    this.#prepared = { min, untilMs }
  }

  /** How many Instances are to be there. */
  prepared(nowMs: number): number {
    return nowMs > this.#prepared.untilMs ? 0 : this.#prepared.min
  }

  /** Calls `act` for each whose time has come; returns when to look again. */
  sweep(
    { config, live, nowMs }: { config: FunctionConfig; live: ReadonlySet<Instance>; nowMs: number },
    act: (instance: Instance, action: 'freeze' | 'reap') => void,
  ): number {
    const { min, untilMs } = this.#prepared
    let next = Infinity
    for (const instance of [...this.#idle]) {
      const keepUntilMs = nowMs < untilMs && live.size <= min ? untilMs : 0
      const { action, nextMs } = restAction(instance, { config, nowMs, keepUntilMs })
      if (action === 'reap' || action === 'freeze') act(instance, action)
      next = Math.min(next, nextMs)
    }
    return next
  }
}
