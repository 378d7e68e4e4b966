import { notProbed, type Agent, type AgentStatus } from '../domain/agent.ts'
import type { Driver, IsolationPolicy, ProbeResult } from '../domain/driver.ts'
import type { FunctionConfig } from '../domain/function.ts'
import type { Logger } from '../domain/logger.ts'
import { DriverChoice } from './place.ts'

/** The drivers of this node and what their probes found; a guest's boot takes a second or two, so each is probed once and no sooner than needed. */
export class ProbedDrivers {
  readonly #choice: DriverChoice
  readonly #logger: Logger
  readonly #probes = new Map<Driver, ProbeResult>()
  #probing: Promise<void> | null = null

  constructor(drivers: readonly Driver[], policy: IsolationPolicy, logger: Logger) {
    this.#choice = new DriverChoice(drivers, policy)
    this.#logger = logger
  }

  get all(): readonly Driver[] {
    return this.#choice.all
  }

  /** Probes the first choice, and the others where that does not work. */
  async open(): Promise<void> {
    const [first] = this.all
    if (first !== undefined) await this.#probe(first)
    if (first === undefined || this.trouble !== null) await this.probeAll()
  }

  /** As DriverChoice.of. */
  of(isolation: FunctionConfig['isolation']): Driver {
    return this.#choice.of(isolation)
  }

  /** Resolves once it is known of every driver whether it works; never rejects. */
  probeAll(): Promise<void> {
    this.#probing ??= this.#probeOthers()
    return this.#probing
  }

  get isProbed(): boolean {
    return this.all.every((driver) => this.#probes.has(driver))
  }

  /** Why nothing can run here, or null. */
  get trouble(): string | null {
    const probes = [...this.#probes.values()]
    return probes.length > 0 && probes.every(({ works }) => !works) ? (probes[0]?.detail ?? null) : null
  }

  status(): AgentStatus['drivers'] {
    return this.all.map((driver) => {
      const { enforced, isVm, vmm } = driver.capabilities
      const { works = false, detail = notProbed } = this.#probes.get(driver) ?? {}
      return { name: driver.name, works, detail, enforced, isVm, vmm }
    })
  }

  async machines(): ReturnType<Agent['machines']> {
    const made = this.all.map(async (driver) => ({ driver: driver.name, usage: await driver.usage?.() }))
    return (await Promise.all(made)).flatMap(({ driver, usage }) => (usage === undefined ? [] : [{ driver, ...usage }]))
  }

  async close(): Promise<void> {
    for (const driver of this.all) await driver.close()
  }

  async #probeOthers(): Promise<void> {
    for (const driver of this.all) if (!this.#probes.has(driver)) await this.#probe(driver)
  }

  async #probe(driver: Driver): Promise<void> {
    const probe = await driver.probe().catch((error: unknown): ProbeResult => {
      const { capabilities } = driver
      return { works: false, detail: error instanceof Error ? error.message : String(error), capabilities }
    })
    this.#probes.set(driver, probe)
    if (!probe.works) this.#logger.error('driver.probe.failed', { driver: driver.name, detail: probe.detail })
    // One that was not asked for yet counts: its machines may have been taken over, and who starts one probes it first.
    this.#choice.setWorking(this.all.filter((each) => this.#probes.get(each)?.works ?? true))
  }
}
