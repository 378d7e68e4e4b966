import type { FunctionStats } from '../domain/control.ts'
import type { ColdCause, Outcome } from '../domain/invocation.ts'

/** Upper bounds of the duration buckets in ms: each 1.25 times the last, from 0.05 ms to beyond an hour; so a percentile is within 12 %. */
const bucketMs = Array.from({ length: 84 }, (_, n) => 0.05 * 1.25 ** n)
const logStep = Math.log(1.25)

/** Figures of one function since the platform started. Updating costs a few array writes: it is on the path of every invocation. */
export class FunctionFigures {
  invocations = 0
  errors = 0
  running = 0
  queued = 0
  durationSumMs = 0
  readonly outcomes: Partial<Record<Outcome, number>> = {}
  readonly coldStarts: Partial<Record<ColdCause, number>> = {}
  readonly buckets = new Uint32Array(bucketMs.length)

  /** One invocation has ended; `durationMs` is the handler's time. */
  ended(outcome: Outcome, durationMs: number, coldCause: ColdCause | null): void {
    this.invocations++
    if (outcome !== 'succeeded') this.errors++
    this.outcomes[outcome] = (this.outcomes[outcome] ?? 0) + 1
    if (coldCause !== null) this.coldStarts[coldCause] = (this.coldStarts[coldCause] ?? 0) + 1
    if (durationMs <= 0) return
    this.durationSumMs += durationMs
    const n = Math.ceil(Math.log(durationMs / 0.05) / logStep)
    const at = n < 0 ? 0 : Math.min(n, bucketMs.length - 1)
    this.buckets[at] = (this.buckets[at] ?? 0) + 1
  }

  /** Handler time at quantile `q` in ms; null before the first. */
  durationMsAt(q: number): number | null {
    const total = this.buckets.reduce((sum, count) => sum + count, 0)
    if (total === 0) return null
    let seen = 0
    for (const [n, count] of this.buckets.entries()) {
      seen += count
      if (seen >= total * q) return Math.round((bucketMs[n] ?? 0) * 100) / 100
    }
    return bucketMs.at(-1) ?? null
  }

  view(): FunctionStats {
    return {
      invocations: this.invocations,
      errors: this.errors,
      running: this.running,
      queued: this.queued,
      durationMsP50: this.durationMsAt(0.5),
      durationMsP99: this.durationMsAt(0.99),
      coldStarts: { ...this.coldStarts },
      outcomes: { ...this.outcomes },
    }
  }
}

const unused = new FunctionFigures()

/** Figures of all functions that were invoked, by project and name. */
export class Stats {
  readonly #byFunction = new Map<string, { project: string; name: string; figures: FunctionFigures }>()

  of(project: string, name: string): FunctionFigures {
    const key = `${project}/${name}`
    const found = this.#byFunction.get(key)
    if (found !== undefined) return found.figures
    const figures = new FunctionFigures()
    this.#byFunction.set(key, { project, name, figures })
    return figures
  }

  /** Figures for people; looking makes no entry. */
  view(project: string, name: string): FunctionStats {
    return (this.#byFunction.get(`${project}/${name}`)?.figures ?? unused).view()
  }

  forget(project: string, name: string): void {
    this.#byFunction.delete(`${project}/${name}`)
  }

  all(): Iterable<{ project: string; name: string; figures: FunctionFigures }> {
    return this.#byFunction.values()
  }
}

export const durationBucketsMs: readonly number[] = bucketMs
