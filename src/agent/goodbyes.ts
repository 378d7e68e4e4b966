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

  /** No more time: those that are leaving are ended. */
  cut(): void {
    for (const instance of this.#leaving.keys()) void instance.kill()
  }

  say(instance: Instance, { config }: Version): void {
    if (instance.state === 'frozen') thaw(instance, config.memoryMib, this.#host, () => void instance.kill())
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
      await instance.dead.promise
      timer.cancel()
    }
    await instance.kill()
    this.#leaving.delete(instance)
    this.#host.release(instance.chargedMib)
    instance.chargedMib = 0
    this.#host.onInstanceChanged(instance)
  }
}
