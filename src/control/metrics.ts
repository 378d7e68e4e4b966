import { collectDefaultMetrics, Counter, Gauge, Registry } from 'prom-client'
import type { Agent } from '../domain/agent.ts'
import { durationBucketsMs, type Stats } from './stats.ts'

/** Buckets that a scrape shows, in seconds; the finer ones inside are summed into them. */
const shownBuckets = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300]

/** Prometheus text, gathered from Stats and the agent at each scrape: the path of an invocation never touches the registry. */
export class Metrics {
  readonly #registry = new Registry()
  readonly #stats: Stats

  constructor({
    stats,
    agent,
    version,
    losses,
  }: {
    stats: Stats
    agent: Agent
    version: string
    losses: () => number
  }) {
    this.#stats = stats
    const registers = [this.#registry]
    collectDefaultMetrics({ register: this.#registry, eventLoopMonitoringPrecision: 1 })
    new Gauge({ name: 'hearth_build_info', help: 'Version of the platform.', labelNames: ['version'], registers }).set(
      { version },
      1,
    )
    perFunction(registers, stats)
    new Gauge({
      name: 'hearth_instances',
      help: 'Instances on this node by state.',
      labelNames: ['node', 'state'],
      registers,
      async collect() {
        const { node, instances } = await agent.status()
        for (const [state, count] of Object.entries(instances)) this.set({ node, state }, count)
      },
    })
    new Gauge({
      name: 'hearth_node_memory_free_mib',
      help: 'Memory that new Instances may still take, MiB.',
      labelNames: ['node'],
      registers,
      async collect() {
        const { node, freeMib } = await agent.status()
        this.set({ node }, freeMib)
      },
    })
    new Gauge({
      name: 'hearth_receipts_lost',
      help: 'Receipts dropped because the disk could not keep up.',
      registers,
      collect() {
        this.set(losses())
      },
    })
  }

  async text(): Promise<string> {
    return (await this.#registry.metrics()) + durationText(this.#stats)
  }
}

function perFunction(registers: Registry[], stats: Stats): void {
  const labels = ['project', 'function'] as const
  new Counter({
    name: 'hearth_invocations_total',
    help: 'Invocations that ended, by outcome.',
    labelNames: [...labels, 'outcome'],
    registers,
    collect() {
      this.reset()
      for (const { project, name, figures } of stats.all())
        for (const [outcome, count] of Object.entries(figures.outcomes))
          this.inc({ project, function: name, outcome }, count)
    },
  })
  new Counter({
    name: 'hearth_cold_starts_total',
    help: 'Invocations that waited for a new Instance, by cause.',
    labelNames: [...labels, 'cause'],
    registers,
    collect() {
      this.reset()
      for (const { project, name, figures } of stats.all())
        for (const [cause, count] of Object.entries(figures.coldStarts))
          this.inc({ project, function: name, cause }, count)
    },
  })
  for (const [state, help] of [
    ['running', 'Invocations that run now.'],
    ['queued', 'Invocations that wait for a slot.'],
  ] as const)
    new Gauge({
      name: `hearth_invocations_${state}`,
      help,
      labelNames: [...labels],
      registers,
      collect() {
        this.reset()
        for (const { project, name, figures } of stats.all()) this.set({ project, function: name }, figures[state])
      },
    })
}

/** The histogram's text: prom-client can only observe one value at a time, which would be on the path of every invocation.
 *  Names of projects and functions need no escaping: they are letters, digits, "-" and "_". Source: Prometheus text format 0.0.4. */
function durationText(stats: Stats): string {
  const name = 'hearth_invocation_duration_seconds'
  const lines = [`# HELP ${name} Handler time, from the event to the result.`, `# TYPE ${name} histogram`]
  for (const { project, name: functionName, figures } of stats.all()) {
    const labels = `project="${project}",function="${functionName}"`
    const { buckets } = figures
    const total = buckets.reduce((sum, count) => sum + count, 0)
    for (const le of shownBuckets) lines.push(`${name}_bucket{le="${le}",${labels}} ${countUpTo(buckets, le * 1000)}`)
    lines.push(`${name}_bucket{le="+Inf",${labels}} ${total}`)
    lines.push(`${name}_sum{${labels}} ${figures.durationSumMs / 1000}`, `${name}_count{${labels}} ${total}`)
  }
  return `${lines.join('\n')}\n`
}

function countUpTo(buckets: Uint32Array, ms: number): number {
  return buckets.reduce((sum, count, n) => ((durationBucketsMs[n] ?? 0) <= ms ? sum + count : sum), 0)
}
