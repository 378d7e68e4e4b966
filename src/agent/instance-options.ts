import type { Duplex } from 'node:stream'
import type { Clock } from '../domain/clock.ts'
import type { Sandbox } from '../domain/driver.ts'
import type { AttemptRecord } from '../domain/invocation.ts'
import type { Logger } from '../domain/logger.ts'
import type { RuntimeBuild } from '../domain/runtime.ts'
import type { Instance } from './instance.ts'

/** Where an Instance comes from. */
export interface InstanceFrom {
  /** What every attempt on it is recorded with. */
  readonly record: Pick<AttemptRecord, 'driver' | 'vmm' | 'snapshot'>
  /** It came up from a snapshot. */
  readonly isRestored: boolean
  /** A stronger rung of the ladder was refused before. */
  readonly isRefused: boolean
  readonly mayPause: boolean
  /** A machine, which lives on when its agent is killed. */
  readonly outlivesAgent: boolean
}

export interface InstanceOptions {
  readonly id: string
  readonly epoch: string
  readonly node: string
  readonly from: InstanceFrom
  readonly build: RuntimeBuild
  readonly sandbox: Sandbox
  readonly clock: Clock
  readonly logger: Logger
  readonly logBytesPerSecond: number
  /** An earlier agent held it, since then. */
  readonly takenOver?: { readonly createdAt: number }
  readonly openService: (service: string, instance: Instance, stream: Duplex) => boolean
}
