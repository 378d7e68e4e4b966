import { collectDefaultMetrics, Gauge, Registry } from 'prom-client'
import type { Agent } from '../domain/agent.ts'
import type { Caller } from '../domain/control.ts'
import type { MachinesUsage } from '../domain/driver.ts'
import { defaultProject } from '../domain/project.ts'
import { functionMetrics } from './function-metrics.ts'
import { demand } from './scopes.ts'
import type { Stats } from './stats.ts'

export interface MetricsOptions {
  readonly stats: Stats
  readonly agent: Agent
  readonly version: string
  /** Receipts dropped so far. */
  readonly losses: () => number
}

/** Prometheus text, gathered from Stats and the agent at each scrape: the path of an invocation never touches the registry.
 *  What each metric means: docs/reference/metrics.md. */
export class Metrics {
  readonly #registry = new Registry()
  readonly #stats: Stats

  constructor({ stats, agent, version, losses }: MetricsOptions) {
    this.#stats = stats
    collectDefaultMetrics({ register: this.#registry, eventLoopMonitoringPrecision: 1 })
    for (const gauge of [buildInfo(version), instances(agent), freeMemory(agent), receiptsLost(losses), ...vms(agent)])
      this.#registry.registerMetric(gauge)
  }

  /** Figures of the caller's project; keys of the default project, the operator's, see all projects, the process and the nodes.
   *  Throws forbidden. */
  async text(caller: Caller): Promise<string> {
    demand(caller, 'metrics:read')
    if (caller.project !== defaultProject) return functionMetrics(this.#stats, caller.project)
    return (await this.#registry.metrics()) + (await functionMetrics(this.#stats, null))
  }
}

/** Gauges join the registry of their Metrics, not the library's global one. */
const registers: Registry[] = []

function buildInfo(version: string): Gauge {
  const gauge = new Gauge({
    name: 'hearth_build_info',
    help: 'Version of the platform.',
    labelNames: ['version'],
    registers,
  })
  gauge.set({ version }, 1)
  return gauge
}

function instances(agent: Agent): Gauge {
  return new Gauge({
    name: 'hearth_instances',
    help: 'Instances by node and state.',
    labelNames: ['node', 'state'],
    registers,
    async collect() {
      const status = await agent.status()
      for (const [state, count] of Object.entries(status.instances)) this.set({ node: status.node, state }, count)
    },
  })
}

function freeMemory(agent: Agent): Gauge {
  return new Gauge({
    name: 'hearth_node_memory_free_mib',
    help: 'Memory that new Instances may still take, MiB.',
    labelNames: ['node'],
    registers,
    async collect() {
      const { node, freeMib } = await agent.status()
      this.set({ node }, freeMib)
    },
  })
}

/** One look at the machines serves all three gauges of a scrape. */
const sameScrapeMs = 500

function vms(agent: Agent): Gauge[] {
  let last: { readonly atMs: number; readonly machines: ReturnType<Agent['machines']> } | null = null
  const look = (): ReturnType<Agent['machines']> => {
    const atMs = performance.now()
    if (last === null || atMs - last.atMs > sameScrapeMs) last = { atMs, machines: agent.machines() }
    return last.machines
  }
  const gauge = (name: string, help: string, value: (of: MachinesUsage) => number | null): Gauge =>
    new Gauge({
      ...{ name, help, labelNames: ['node', 'driver'], registers },
      async collect() {
        const [{ node }, machines] = await Promise.all([agent.status(), look()])
        // What a driver cannot tell any more must not stand there as if it did.
        this.reset()
        for (const { driver, ...usage } of machines) {
          const figure = value(usage)
          if (figure !== null) this.set({ node, driver }, figure)
        }
      },
    })
  return [
    gauge('hearth_vms', 'MicroVMs that are alive.', ({ machines }) => machines),
    gauge('hearth_vm_memory_bytes', 'Memory of their VMM processes.', ({ memoryBytes }) => memoryBytes),
    gauge(
      'hearth_vm_guest_available_bytes',
      'What the guests say they could still use of theirs.',
      ({ guestAvailableBytes }) => guestAvailableBytes,
    ),
  ]
}

function receiptsLost(losses: () => number): Gauge {
  return new Gauge({
    name: 'hearth_receipts_lost',
    help: 'Receipts dropped because the disk could not keep up.',
    registers,
    collect() {
      this.set(losses())
    },
  })
}
