import type { Instance } from './instance.ts'

/** Instances of one Version that have nothing to do, the most recently used last: it serves first, the others come to rest. */
export class IdleInstances {
  #list: Instance[] = []

  get size(): number {
    return this.#list.length
  }

  /** Used least recently; null when none may go. */
  get oldest(): Instance | null {
    return this.#list.find((instance) => instance.openWork === 0) ?? null
  }

  /** As they are now: the list may change meanwhile. */
  all(): readonly Instance[] {
    return [...this.#list]
  }

  add(instance: Instance): void {
    this.#list.push(instance)
  }

  remove(instance: Instance): void {
    const at = this.#list.indexOf(instance)
    if (at >= 0) this.#list.splice(at, 1)
  }

  /** The one used last; null when there is none. */
  take(): Instance | null {
    let instance = this.#list.pop()
    // What is passed over here is on its way out: its end is told by its death.
    while (instance?.isReachable === false) instance = this.#list.pop()
    return instance ?? null
  }
}
