import type { Agent } from '../domain/agent.ts'
import { toAppError } from '../domain/error.ts'
import { versionKey, type Version } from '../domain/function.ts'
import type { Logger } from '../domain/logger.ts'
import type { Pending } from '../domain/store.ts'

/** Told how a preparation ended: `failure` null = the Version can be invoked. Resolves once that is on disk. */
export type Settle = (version: Version, failure: string | null) => Promise<void>

interface Preparation {
  readonly version: Version
  readonly ended: Promise<void>
}

/** Versions that were accepted before they could run, while the agent makes them invocable. What was not finished when the platform
 *  ended is pending in the store and begins anew at the next start. */
export class Preparations {
  readonly #agent: Pick<Agent, 'deploy' | 'forget'>
  readonly #logger: Logger
  readonly #running = new Map<string, Preparation>()
  #isStopped = false
  #stop: () => void = () => {}
  readonly #stopped = new Promise<void>((resolve) => (this.#stop = resolve))

  constructor({ agent, logger }: { agent: Pick<Agent, 'deploy' | 'forget'>; logger: Logger }) {
    this.#agent = agent
    this.#logger = logger
  }

  begin(version: Version, { mustLoad }: Pending, settle: Settle): void {
    const key = versionKey(version)
    // The first step is taken a turn later, when it is known by its key.
    const ended = Promise.resolve().then(async () => this.#run(version, mustLoad, settle))
    this.#running.set(key, { version, ended })
  }

  /** Resolves when `version` is prepared, or will not be: look again what became of it. At once when nothing prepares it. */
  async ended(version: Version): Promise<void> {
    await Promise.race([this.#running.get(versionKey(version))?.ended, this.#stopped])
  }

  /** Whether anybody still wants to know what becomes of it. */
  isWanted(version: Version): boolean {
    return !this.#isStopped && this.#running.get(versionKey(version))?.version === version
  }

  /** A function is gone, and with it what was prepared for it. */
  abandon(project: string, functionName: string): void {
    for (const [key, { version }] of this.#running)
      if (version.project === project && version.functionName === functionName) this.#running.delete(key)
  }

  /** The platform ends: failures from now on are its own doing, and nobody waits any longer. */
  stop(): void {
    this.#isStopped = true
    this.#stop()
  }

  async #run(version: Version, mustLoad: boolean, settle: Settle): Promise<void> {
    const failure = await this.#agent.deploy(version, { mustLoad }).then(
      () => null,
      (error: unknown) => toAppError(error),
    )
    if (!this.isWanted(version)) {
      // Its function went meanwhile, and with it what was kept of it until then.
      if (!this.#isStopped) await this.#agent.forget(version)
      return
    }
    const key = versionKey(version)
    if (failure !== null) {
      const { code, message, detail } = failure
      this.#logger.warn('version.failed', { version: key, code, error: message, detail })
    }
    try {
      await settle(version, failure?.message ?? null)
    } catch (error) {
      const { message, detail } = toAppError(error)
      this.#logger.error('version.settle.failed', { version: key, error: message, detail })
    } finally {
      if (this.isWanted(version)) this.#running.delete(key)
    }
  }
}
