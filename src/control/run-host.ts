import type { Clock } from '../domain/clock.ts'
import type { Version } from '../domain/function.ts'
import type { ColdCause, Receipt } from '../domain/invocation.ts'
import type { ActiveRuns } from './active-runs.ts'
import type { FunctionGate } from './admission.ts'
import type { Placement } from './placement.ts'
import type { Run } from './run.ts'

/** What a Run needs of the Invoker around it. */
export interface RunHost {
  readonly clock: Clock
  readonly placement: Placement
  readonly receipts: { append(receipt: Receipt): void }
  readonly active: ActiveRuns<Run>
  readonly newId: (nowMs: number) => string
  /** Longest reply that is passed on as it comes. */
  readonly streamBytesMax: number
  coldHint(gate: FunctionGate, version: Version): ColdCause | null
}
