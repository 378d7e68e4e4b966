import type { Duplex } from 'node:stream'
import type { Digest } from './artifact.ts'
import type { Version, VersionRef } from './function.ts'
import type {
  AttemptRecord,
  ColdCause,
  CrashReason,
  Effect,
  FunctionError,
  Outcome,
  Phase,
  StartSource,
} from './invocation.ts'
import type { InstanceInfo } from './instance.ts'
import type { EnforcedFeature, MachinesUsage, VmmFacts } from './driver.ts'
import type { RuntimeBuild } from './runtime.ts'

/** One attempt to run an Invocation on a node. All times are epoch ms. */
export interface ExecuteRequest {
  readonly invocationId: string
  readonly version: Version
  /** Epoch of the owner's lease; an agent refuses an older one than it has seen for this function. */
  readonly ownerEpoch: number
  readonly acceptedAt: number
  readonly deadline: number
  readonly contentType: string
  readonly traceparent: string | null
  /** Why a new Instance would be needed, if one is: the agent knows better only for idle, evicted and crash. */
  readonly coldHint: ColdCause | null
  /** Whether the caller wants the last `limits.logTailBytes` of the log with the result. */
  readonly wantLogTail: boolean
  /** The caller passes the reply on as it comes: nothing of it is kept here, so it cannot be attached to. Default: false. */
  readonly isStreamed?: boolean
  /** A longer reply fails with `Function.ResponseSizeTooLarge`. Default: `limits.payloadBytesMax`. */
  readonly replyBytesMax?: number
  /** The request whose body the data is, for a Version with contract `http`. */
  readonly http?: HttpRequestHead
}

/** An HTTP request without its body. */
export interface HttpRequestHead {
  readonly method: string
  /** Path and query as they came. */
  readonly target: string
  readonly headers: readonly (readonly [string, string])[]
}

/** Caller -> agent. `last` ends the request body. */
export type ExecuteDown =
  | { readonly type: 'data'; readonly chunk: Uint8Array; readonly last: boolean }
  | { readonly type: 'credit'; readonly bytes: number }
  | { readonly type: 'cancel'; readonly reason: string }

/** What an Instance takes of a request body before it says, by `credit`, that it has consumed some. */
export const requestWindowBytes = 262_144

/** Agent -> caller. `started` comes at most once, `result` exactly once; with `usageFollows` it is followed by one `usage`, a second later at most, else it is last. `started` and `result` may come before `execute` returns.
 *  Give the length of each `data` back as `credit`: without it a result stops at the guest's first window of 256 KiB. */
export type ExecuteUp =
  | {
      readonly type: 'started'
      readonly instance: string
      readonly start: StartSource
      readonly coldCause: ColdCause | null
    }
  | { readonly type: 'head'; readonly status: number; readonly headers: readonly (readonly [string, string])[] }
  | { readonly type: 'data'; readonly chunk: Uint8Array }
  /** The Instance consumed so many bytes of the request body and takes as many more. */
  | { readonly type: 'credit'; readonly bytes: number }
  | { readonly type: 'result'; readonly result: AttemptResult; readonly usageFollows?: true }
  /** In the place of what the result says of it. */
  | ({ readonly type: 'usage' } & UsagePeaks)

/** What an attempt used at most: domain/invocation.ts says how well that is known. */
export interface UsagePeaks {
  readonly memoryPeakMib: number
  readonly ephemeralBytesPeak: number
}

export interface AttemptResult extends UsagePeaks {
  readonly outcome: Outcome
  readonly effect: Effect
  readonly attempt: AttemptRecord | null
  readonly start: StartSource | null
  readonly coldCause: ColdCause | null
  readonly crashReason: CrashReason | null
  /** User code's error (`failed`), or what the platform says of a crash or timeout. */
  readonly error: FunctionError | null
  /** The node refused before it began: the caller may try another, or wait for `watch`. */
  readonly refused: {
    readonly code: 'capacity' | 'draining' | 'backoff' | 'stale_owner' | 'gone'
    readonly message: string
    readonly retryAfterMs: number
  } | null
  readonly phases: readonly Phase[]
  readonly durationMs: number
  readonly logTail: string | null
}

/** The caller's half of a running execution. */
export interface ExecuteCall {
  send(frame: ExecuteDown): void
}

/** What late binding in the control needs to know, pushed. */
export type AgentEvent =
  | { readonly type: 'instance'; readonly instance: InstanceInfo }
  | { readonly type: 'capacity'; readonly freeMib: number }
  | { readonly type: 'cache'; readonly digest: string; readonly present: boolean }
  /** Nothing here reads what was unpacked from these bytes any more. */
  | { readonly type: 'unused'; readonly digest: Digest }

/** `detail` of a driver that nothing has asked for yet. */
export const notProbed = 'not tried yet: a function that asks for it has it tried'

export interface AgentStatus {
  readonly node: string
  readonly arch: string
  readonly draining: boolean
  readonly memoryMib: number
  readonly freeMib: number
  readonly drivers: readonly {
    readonly name: string
    readonly works: boolean
    readonly detail: string
    readonly enforced: readonly EnforcedFeature[]
    readonly isVm: boolean
    readonly vmm: VmmFacts | null
  }[]
  readonly runtimes: readonly RuntimeBuild[]
  readonly instances: {
    readonly booted: number
    readonly ready: number
    readonly busy: number
    readonly frozen: number
  }
}

export interface LogLine {
  /** Epoch ms. */
  readonly time: number
  readonly stream: 'stdout' | 'stderr' | 'platform'
  readonly invocation: string | null
  readonly instance: string
  readonly text: string
  /** Offset just past this line in the function's log, for resuming. */
  readonly offset: number
}

/** Every attempt's final status goes here as well as to the caller, so that an outcome survives the control that asked. */
export interface OutcomeSink {
  record(invocationId: string, result: AttemptResult): void
}

/** What a function is allowed to reach on the host through OPEN. `identity` comes from the channel, so it cannot be stolen. */
export interface HostServices {
  open(service: string, identity: InstanceIdentity, stream: Duplex): boolean
}

export interface InstanceIdentity {
  readonly project: string
  readonly functionName: string
  readonly version: number
  readonly instance: string
  readonly scopes: readonly string[]
}

/** Secret values of a Version, looked up at BIND and never kept. */
export interface SecretSource {
  reveal(project: string, names: readonly string[]): Promise<RevealedSecrets>
}

export interface RevealedSecrets {
  readonly values: ReadonlyMap<string, string>
  /** Another as soon as one of them was set again, whatever its value. Tells nothing of the values, so it may be kept. */
  readonly stamp: string
}

/** Versions that Instances of an earlier agent may belong to; null for one that is gone, or not active. */
export interface VersionSource {
  find(project: string, functionName: string, number: number): Promise<Version | null>
}

/** A machine that runs Instances. The local agent and, on a fleet, a gRPC client are two implementations; suite: test/contract/agent.contract.ts. */
export interface Agent {
  register(): Promise<AgentStatus>
  /** Makes the Version invocable here: code unpacked, caches made in the function's own sandbox; with `mustLoad`, started once.
   *  Throws invalid (archive; code that does not load), capacity (no memory to start it), driver_failed. Progress lines go to `report`. */
  deploy(version: Version, options?: { report?: (line: string) => void; mustLoad?: boolean }): Promise<void>
  /** Keeps at least `min` Instances ready until `until` (epoch ms). */
  prepare(version: Version, options: { min: number; until: number }): Promise<void>
  execute(request: ExecuteRequest, receive: (frame: ExecuteUp) => void): ExecuteCall
  cancel(invocationId: string, reason: string): Promise<boolean>
  get(invocationId: string): Promise<{ state: 'starting' | 'running'; instance: string | null } | null>
  list(): Promise<readonly InstanceInfo[]>
  /** Re-joins the output of a running execution; null when it is not running here, or its reply is streamed: nothing is kept of that. */
  attach(invocationId: string, fromOffset: number, receive: (frame: ExecuteUp) => void): Promise<ExecuteCall | null>
  /** Retires warm Instances of a Version (or of all Versions of a function, or one that holds a secret); busy ones finish first. */
  evict(filter: { project: string; functionName?: string; version?: number; secret?: string }): Promise<number>
  /** The function is deleted: what runs comes to its end, what waits is refused (`gone`), and nothing of it rests or starts any more. */
  remove(of: { project: string; functionName: string }): Promise<void>
  /** Versions of which this node keeps snapshots or code images, so that they start fast; of one Function, or of all. */
  kept(of?: { project: string; functionName: string }): Promise<readonly VersionRef[]>
  /** Removes what it keeps of a Version; one that is called again has it made again. Rejects never: what cannot be removed is logged. */
  forget(version: VersionRef): Promise<void>
  /** Whether Instances or deploys here read what was unpacked from these bytes, as code or as a layer; `unused` is told when that ends. */
  uses(digest: Digest): Promise<boolean>
  drain(deadline: number): Promise<void>
  logs: {
    tail(project: string, functionName: string, lines: number): Promise<readonly LogLine[]>
    /** Lines from `fromOffset` (undefined = now) until `signal` aborts or the log is deleted. */
    follow(
      project: string,
      functionName: string,
      options: { fromOffset?: number; signal: AbortSignal },
    ): AsyncIterable<LogLine>
    /** Adds a line of the platform's own about an invocation. */
    note(project: string, functionName: string, line: { invocation: string; text: string }): void
    delete(project: string, functionName: string): Promise<void>
  }
  /** Waits for probes of drivers that are under way. */
  /** `mustProbe`: of every driver, also those that nothing has asked for yet, which can take seconds. */
  status(options?: { mustProbe?: boolean }): Promise<AgentStatus>
  /** What the microVMs of each driver take of this node; a request to each of them, for a scrape of metrics. */
  machines(): Promise<readonly (MachinesUsage & { readonly driver: string })[]>
  health(): Promise<{ ok: boolean; detail: string }>
  /** Calls `receive` for each event until the returned function is called. */
  watch(receive: (event: AgentEvent) => void): () => void
  close(): Promise<void>
}
