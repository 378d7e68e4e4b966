import type { AttemptResult, OutcomeSink } from '../domain/agent.ts'
import type { Clock } from '../domain/clock.ts'
import type { CrashReason, Effect, FunctionError, Outcome } from '../domain/invocation.ts'
import type { Logger } from '../domain/logger.ts'
import type { Execution } from './execution.ts'
import type { UsageSampler } from './usage-sampler.ts'

/** What an execution needs of the agent around it. */
export interface ExecutionHost {
  readonly node: string
  readonly arch: string
  readonly clock: Clock
  readonly logger: Logger
  readonly outcomes: OutcomeSink
  readonly sampler: Pick<UsageSampler, 'takeOne'>
  /** It has its result. Called before the caller is told. */
  onFinished(execution: Execution, fate: Fate): void
}

/** What becomes of the Instance: it may serve again, may when it proves to be alive (what failed may be about to exit), or must go. */
export type Fate = 'keep' | 'check' | 'discard'

/** How it ended. */
export interface ExecutionEnd {
  readonly outcome: Outcome
  readonly effect: Effect
  readonly error: FunctionError | null
  readonly crashReason?: CrashReason | null
  readonly refused?: AttemptResult['refused']
  readonly fate: Fate
  readonly openWork?: boolean
}
