import type { OutcomeSink } from '../domain/agent.ts'
import type { Clock } from '../domain/clock.ts'
import type { Logger } from '../domain/logger.ts'
import type { Execution } from './execution.ts'

/** What an execution needs of the agent around it. */
export interface ExecutionHost {
  readonly node: string
  readonly arch: string
  readonly clock: Clock
  readonly logger: Logger
  readonly outcomes: OutcomeSink
  /** Whether one more execution may have its use read at its end now. */
  mayMeasure(): boolean
  /** It has its result. Called before the caller is told. */
  onFinished(execution: Execution, fate: Fate): void
}

/** What becomes of the Instance: it may serve again, may when it proves to be alive (what failed may be about to exit), or must go. */
export type Fate = 'keep' | 'check' | 'discard'
