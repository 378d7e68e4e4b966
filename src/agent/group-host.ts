import type { Clock } from '../domain/clock.ts'
import type { Version } from '../domain/function.ts'
import type { Logger } from '../domain/logger.ts'
import type { Instance } from './instance.ts'
import type { Start, StartHooks } from './start.ts'

/** What a group needs of the agent around it. */
export interface GroupHost {
  readonly clock: Clock
  readonly logger: Logger
  /** Reserves memory for one more Instance of `version`, evicting idle ones of others if it must. */
  reserve(version: Version): boolean
  release(mib: number): void
  charge(mib: number): void
  makeStart(version: Version, hooks: StartHooks): Start
  onInstanceChanged(instance: Instance): void
  /** It serves its Version from now on. */
  onLoaded(instance: Instance): void
  /** An Instance of `group` will want freezing or reaping at `dueMs` (monotonic). */
  sweepAt(dueMs: number): void
  onStartOver(): void
}
