/** How an Invocation ended; exactly one of these. */
export const outcomes = ['succeeded', 'failed', 'timed_out', 'cancelled', 'crashed', 'rejected', 'expired'] as const
export type Outcome = (typeof outcomes)[number]

/** Whether user code may have had effects. A handler that threw has `completed`. */
export type Effect = 'never_started' | 'may_have_committed' | 'completed'

/** Why an Instance died under an Invocation, or never came up for it. */
export const crashReasons = ['oom', 'exit', 'signal', 'ephemeral_full', 'init_timeout', 'init_error'] as const
export type CrashReason = (typeof crashReasons)[number]

/** Type of a failed start that was the platform's doing; any other `init_error` is the code's own. */
export const startFailedType = 'Hearth.StartFailed'

/** Why a start was needed, but for the last: the Instance came up from a lower rung of the ladder, because a snapshot was refused, could not be restored
 *  or could not be made. */
export const coldCauses = [
  'first',
  'idle',
  'evicted',
  'scaled',
  'new_version',
  'crash',
  'restart',
  'reuse_never',
  'snapshot_refused',
] as const
export type ColdCause = (typeof coldCauses)[number]

/** Where a started Instance came from; `warm` reuses a ready one. */
export type StartSource = 'warm' | 'pool' | 'snapshot' | 'boot'

/** Closed set: a start is this vector, never one number. Phases may overlap. */
export const phaseNames = [
  'admit',
  'queue',
  'place',
  'sandbox',
  'network',
  'image_fetch',
  'image_verify',
  'restore',
  'runtime_boot',
  'code_fetch',
  'code_verify',
  'code_load',
  'model_fetch',
  'model_verify',
  'model_compile',
  'model_load',
  'alloc',
  'connect',
  'warmup',
  'ready',
  'first_request',
] as const
export type PhaseName = (typeof phaseNames)[number]

export interface Phase {
  readonly phase: PhaseName
  /** Since the Invocation was accepted. */
  readonly startMs: number
  readonly durationMs: number
  readonly source: 'pool' | 'snapshot' | 'node_cache' | 'peer' | 'origin' | 'none'
  readonly bytes: number
}

/** User code's error, as its runtime reported it. */
export interface FunctionError {
  readonly errorType: string
  readonly errorMessage: string
  readonly stackTrace: readonly string[]
}

/** One delivery of an Invocation to an Instance. Times are epoch ms. */
export interface AttemptRecord {
  readonly node: string
  readonly instance: string
  readonly driver: string
  /** VMM, its version and accelerator, e.g. `qemu 7.2.22 (tcg)`; null for processes. */
  readonly vmm: string | null
  /** For a microVM: the kind of snapshot it was restored from, or `none`; with why a stronger rung did not hold, as `refused: <reason>` of a cold boot
   *  and `runtime, function refused: <reason>`; null for processes. */
  readonly snapshot: string | null
  readonly arch: string
  readonly startedAt: number
  readonly endedAt: number
  readonly outcome: Outcome
}

/** An Invocation's full record, appended to the receipt segments within 100 ms of its end. */
export interface Receipt {
  readonly id: string
  readonly project: string
  readonly function: string
  readonly version: number
  readonly state: 'queued' | 'starting' | 'running' | 'done'
  readonly outcome: Outcome | null
  readonly effect: Effect
  readonly createdAt: number
  readonly deadline: number
  readonly endedAt: number | null
  readonly attempts: readonly AttemptRecord[]
  readonly phases: readonly Phase[]
  /** Handler time, from the event's delivery to its result. */
  readonly durationMs: number
  readonly start: StartSource | null
  readonly coldCause: ColdCause | null
  readonly crashReason: CrashReason | null
  /** Most that its Instance held from the reading before it until its end, read then beside the answer; a start's includes boot and load. A warm one that took less than 10 ms, or came when 500 had been read
   *  within the second, has what the Instance held when it was last read: half a second before, if it was busy. One that crashed: what was read each half second; out of memory: the limit. Source: docs/reference/contracts.md. */
  readonly memoryPeakMib: number
  readonly bytesFetched: number
  /** Bytes in /tmp, read at the same times: a file that was removed in between is not in it. */
  readonly ephemeralBytesPeak: number
  readonly storageOps: number
  readonly requestBytes: number
  readonly responseBytes: number
  readonly error: FunctionError | { readonly code: string; readonly message: string } | null
}
