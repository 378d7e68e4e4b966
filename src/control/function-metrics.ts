import { setImmediate as nextTurn } from 'node:timers/promises'
import { durationBucketsMs, type FunctionFigures, type Stats } from './stats.ts'

/* Text of the per-function metrics, made here because prom-client would take every one of them by value: 10,000 functions are 80 ms of
 * labels there and 20 ms of text here, in slices. Source of the form: Prometheus text format 0.0.4. Names of projects and functions
 * need no escaping: they are letters, digits, "-" and "_". */

/** Buckets that a scrape shows, in seconds; the finer ones inside are summed into them. */
const shownBuckets = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300]
/** Which shown bucket each fine one goes into: the first whose bound is not below its own. */
const shownOf = durationBucketsMs.map((ms) => {
  const at = shownBuckets.findIndex((le) => ms <= le * 1000)
  return at < 0 ? shownBuckets.length : at
})
/** Functions written before others get a turn: about 1 ms. */
const sliceFunctions = 200

interface Family {
  readonly name: string
  readonly type: 'counter' | 'gauge' | 'histogram'
  readonly help: string
  readonly lines: (figures: FunctionFigures, labels: string) => readonly string[]
}

/** Every per-function metric; docs/reference/metrics.md is held to it by a test. */
export const families: readonly Family[] = [
  {
    name: 'hearth_invocations_total',
    type: 'counter',
    help: 'Invocations that ended, by outcome.',
    lines: ({ outcomes }, labels) =>
      Object.entries(outcomes).map(
        ([outcome, count]) => `hearth_invocations_total{${labels},outcome="${outcome}"} ${count}`,
      ),
  },
  {
    name: 'hearth_cold_starts_total',
    type: 'counter',
    help: 'Invocations that waited for a new Instance, by cause.',
    lines: ({ coldStarts }, labels) =>
      Object.entries(coldStarts).map(
        ([cause, count]) => `hearth_cold_starts_total{${labels},cause="${cause}"} ${count}`,
      ),
  },
  {
    name: 'hearth_invocations_running',
    type: 'gauge',
    help: 'Invocations that run now.',
    lines: ({ running }, labels) => [`hearth_invocations_running{${labels}} ${running}`],
  },
  {
    name: 'hearth_invocations_queued',
    type: 'gauge',
    help: 'Invocations that wait for a slot or for room on a node.',
    lines: ({ queued }, labels) => [`hearth_invocations_queued{${labels}} ${queued}`],
  },
  {
    name: 'hearth_invocation_duration_seconds',
    type: 'histogram',
    help: 'Handler time, from the event to the result.',
    lines: durationLines,
  },
]

/** Metrics of the functions of `project` (null: of all) that were invoked since the platform started. */
export async function functionMetrics(stats: Stats, project: string | null): Promise<string> {
  const text = families.map(({ name, help, type }) => [`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`])
  let count = 0
  for (const entry of stats.all()) {
    if (project !== null && entry.project !== project) continue
    const labels = `project="${entry.project}",function="${entry.name}"`
    for (const [n, family] of families.entries()) text[n]?.push(...family.lines(entry.figures, labels))
    if (++count % sliceFunctions === 0) await nextTurn()
  }
  return `${text.flat().join('\n')}\n`
}

function durationLines({ buckets, durationSumMs }: FunctionFigures, labels: string): readonly string[] {
  const name = 'hearth_invocation_duration_seconds'
  const counts = Array.from({ length: shownBuckets.length + 1 }, () => 0)
  for (const [n, at] of shownOf.entries()) counts[at] = (counts[at] ?? 0) + (buckets[n] ?? 0)
  let total = 0
  const lines = counts.map((count, n) => {
    total += count
    return `${name}_bucket{${labels},le="${shownBuckets[n] ?? '+Inf'}"} ${total}`
  })
  return [...lines, `${name}_sum{${labels}} ${durationSumMs / 1000}`, `${name}_count{${labels}} ${total}`]
}
