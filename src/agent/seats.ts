import type { Instance } from './instance.ts'

/** Busy Instances that can take further invocations, for Versions whose Instances serve several at a time. */
export class Seats {
  /** Invocations that one Instance serves at a time. */
  readonly perInstance: number
  /** Filled one after the other, so that the later ones come to rest. */
  #roomy: Instance[] = []

  constructor(perInstance: number) {
    this.perInstance = perInstance
  }

  hasRoom(instance: Instance): boolean {
    return instance.running.size < this.perInstance && !instance.isRetired && instance.isReachable
  }

  /** One with room, or null. What cannot be spoken to any more is passed over: its end is told to its owner. */
  take(): Instance | null {
    if (this.#roomy.length === 0) return null
    this.#roomy = this.#roomy.filter((instance) => this.hasRoom(instance))
    return this.#roomy[0] ?? null
  }

  /** `instance` runs something, and may have room for more. */
  offer(instance: Instance): void {
    if (this.perInstance > 1 && this.hasRoom(instance) && !this.#roomy.includes(instance)) this.#roomy.push(instance)
  }

  withdraw(instance: Instance): void {
    if (this.perInstance > 1) this.#roomy = this.#roomy.filter((other) => other !== instance)
  }
}
