import type { Phase, PhaseName } from '../domain/invocation.ts'

/** A phase on the monotonic clock; becomes a `Phase` when it is known whose invocation it belongs to. */
export interface TimedPhase {
  readonly phase: PhaseName
  readonly fromMs: number
  readonly toMs: number
  readonly source: Phase['source']
  readonly bytes: number
}

export function timedPhase(
  phase: PhaseName,
  span: { fromMs: number; toMs: number; source?: Phase['source']; bytes?: number },
): TimedPhase {
  return { phase, fromMs: span.fromMs, toMs: span.toMs, source: span.source ?? 'none', bytes: span.bytes ?? 0 }
}

/** As the invocation that was accepted at `originMs` saw them: what happened before counts from `arrivedMs`, when it reached this node. */
export function phasesSince(
  timed: readonly TimedPhase[],
  { originMs, arrivedMs }: { originMs: number; arrivedMs: number },
): Phase[] {
  return timed.map(({ phase, fromMs, toMs, source, bytes }) => {
    const from = Math.max(fromMs, arrivedMs)
    return {
      phase,
      startMs: round(from - originMs),
      durationMs: round(Math.max(0, toMs - from)),
      source,
      bytes,
    }
  })
}

function round(ms: number): number {
  return Math.round(ms * 1000) / 1000
}
