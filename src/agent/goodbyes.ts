import type { Clock } from '../domain/clock.ts'
import type { Version } from '../domain/function.ts'
import type { Contract } from '../domain/runtime.ts'
import { thaw, type FreezeHost } from './freezing.ts'
import type { Instance } from './instance.ts'

/** How long a program that is to end may take: a server as on Cloud Run, others as Lambda gives a runtime with its extensions. */
const goodbyeMs: Readonly<Record<Contract, number>> = {
  http: 10_000,
  azure: 10_000,
  'runtime-api': 2_000,
  handler: 2_000,
}

type Host = FreezeHost & { readonly clock: Clock }

/** Takes idle Instances of one Version that are no longer needed, asks their programs to end, and holds them until they have: so long each counts
 *  with its memory. */
export class Goodbyes {
  readonly #host: Host
  readonly #leaving = new Map<Instance, Promise<void>>()

  constructor(host: Host) {
    this.#host = host
  }

  get size(): number {
    return this.#leaving.size
  }

  instances(): Iterable<Instance> {
    return this.#leaving.keys()
  }

  /** Resolves when those that are leaving have left. */
  async over(): Promise<void> {
    await Promise.all(this.#leaving.values())
  }

  /** One of those that are leaving has no more time, and what it counts is free at once; false when none counts. */
  cutOne(): boolean {
    for (const instance of this.#leaving.keys()) {
      if (instance.chargedMib === 0) continue
      this.#release(instance)
      void instance.kill()
      return true
    }
    return false
  }

  say(instance: Instance, { config }: Version): void {
    // It runs nothing any more but its end: it counts what it counted frozen.
    if (instance.state === 'frozen') thaw(instance, instance.chargedMib, this.#host, () => void instance.kill())
    instance.state = 'busy'
    this.#leaving.set(instance, this.#end(instance, goodbyeMs[config.contract]))
    this.#host.onInstanceChanged(instance)
  }

  async #end(instance: Instance, graceMs: number): Promise<void> {
    // It is told nothing of an end that it asked for.
    instance.owner = null
    if (instance.isReachable) {
      const timer = this.#host.clock.schedule(graceMs, () => void instance.kill())
      instance.link.shutdown(graceMs)
      await instance.dead
      timer.cancel()
    }
    await instance.kill()
    this.#leaving.delete(instance)
    this.#release(instance)
    this.#host.onInstanceChanged(instance)
  }

  #release(instance: Instance): void {
    this.#host.release(instance.chargedMib)
    instance.chargedMib = 0
  }
}
