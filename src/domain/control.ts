import type { AgentStatus, HttpRequestHead, LogLine } from './agent.ts'
import type { Artifact, Digest } from './artifact.ts'
import type { BuildWatch, Built } from './build.ts'
import type { CodeSource, SourceKind } from './code-source.ts'
import type { Alias, DeployedVersion, FunctionConfig, FunctionRecord } from './function.ts'
import type {
  Effect,
  Outcome,
  Phase,
  Receipt,
  StartSource,
  ColdCause,
  CrashReason,
  FunctionError,
} from './invocation.ts'
import type { LayerRef, LayerVersion } from './layer.ts'
import type { AccessKey, AuditEntry, Key, Project, ProjectQuotas, ProjectUsage, SecretInfo } from './project.ts'
import type { FunctionUrl, UrlName } from './function-url.ts'
import type { Contract, OtherRuntime, RuntimeBuild } from './runtime.ts'
import type { BucketFacts, ObjectFacts, ObjectRef } from './storage.ts'
import type { Page, PageRequest } from './store.ts'
import type { Readable } from 'node:stream'

/** Who calls: resolved from a bearer key or from an Instance's channel. */
export interface Caller {
  /** Key id, or `instance:<function>`; written to the audit log. */
  readonly actor: string
  readonly project: string
  readonly scopes: readonly string[]
}

/** A signature of AWS Signature Version 4 and what it must have been made of. */
export interface SignatureProof {
  readonly accessKeyId: string
  /** `YYYYMMDD`. */
  readonly date: string
  readonly region: string
  readonly service: string
  readonly stringToSign: string
  /** Hexadecimal. */
  readonly signature: string
}

/** Why an invocation was not let in: its own limit (429), the node's (503), or its function was deleted since it came (404). */
export type Rejection = Overload | { readonly kind: 'gone' }

/** Who comes again later may be let in. */
export interface Overload {
  readonly kind: 'own_limit' | 'capacity'
  readonly resource: string
  readonly cause: string
  /** How much that resource is, of its own limits: invocations at a time. */
  readonly limit?: number
  readonly retryAfterMs: number
}

export interface CreateFunction {
  readonly name: string
  readonly code: CodeSource
  /** Fields left out take the default of `limits`; values are checked here, naming field, value and range. */
  readonly config: Partial<FunctionConfig> & Pick<FunctionConfig, 'runtime'>
}

export interface UpdateFunction {
  readonly code?: CodeSource
  readonly config?: Partial<FunctionConfig>
}

export interface DeployOptions {
  /** False: answer once the Version is accepted and on disk; it becomes invocable, or failed, later. */
  readonly wait: boolean
  /** Start the code once before the Version goes live: code that does not load is refused. Null: of a program (a bootstrap, a server, an image, what
   *  Go or Rust was built to) that is new, or that an update replaces. */
  readonly mustLoad: boolean | null
}

export interface FunctionView {
  readonly record: FunctionRecord
  /** What `$LATEST` means. */
  readonly version: DeployedVersion
  readonly stats: FunctionStats
}

/** Since the platform started. */
export interface FunctionStats {
  readonly invocations: number
  readonly errors: number
  readonly running: number
  readonly queued: number
  readonly durationMsP50: number | null
  readonly durationMsP99: number | null
  readonly coldStarts: Readonly<Partial<Record<ColdCause, number>>>
  readonly outcomes: Readonly<Partial<Record<Outcome, number>>>
}

export interface InvokeRequest {
  /** From `newInvocationId`, for an event that holds it; left out: one is made. */
  readonly id?: string
  readonly caller: Caller
  readonly functionName: string
  /** Version number, alias name or `$LATEST`; null = `$LATEST`. */
  readonly qualifier: string | null
  readonly contentType: string
  /** Whole event; at most `limits.payloadBytesMax`. */
  readonly payload: Uint8Array
  /** Epoch ms; null = function timeout from now. Never later than that. */
  readonly deadline: number | null
  /** 0 (first) to 5 (last). */
  readonly priority: number
  readonly traceparent: string | null
  readonly wantLogTail: boolean
  /** Takes the reply as it comes; left out: the reply comes whole. */
  readonly sink?: ReplySink
  /** The HTTP request that a Version with contract `http` is to serve. */
  readonly http?: HttpRequestHead
  /** The body of that request as it comes; `payload` is then empty. */
  readonly source?: RequestSource
}

/** What is known of a reply when its first part comes. */
export type ReplyStart = Pick<InvokeReply, 'invocationId' | 'version' | 'start' | 'coldCause' | 'phases' | 'head'>

/** Takes a reply as it comes. Nothing is called before there is something to pass on: an invocation that ends without has its whole story in `done`.
 *  After `begin` the function's status has gone out and a failure can only be told at the end; `done` then has no head and no body. */
export interface ReplySink {
  /** Once. `credit` gives back what the consumer took of `data`: without it the function stops after 256 KiB. */
  begin(start: ReplyStart, credit: (bytes: number) => void): void
  /** `chunk` is a view of what was read. */
  data(chunk: Uint8Array): void
}

/** Hands on a request body as it comes. */
export interface RequestSource {
  /** Called once, when there is an Instance. It may be `requestWindowBytes` ahead of what `taken` has told. */
  open(write: (chunk: Uint8Array, last: boolean) => void): void
  taken(bytes: number): void
}

/** What the caller of an invocation is told; `http` maps it to status, headers and body by docs/reference/contracts.md. */
export interface InvokeReply {
  readonly invocationId: string
  readonly outcome: Outcome
  readonly effect: Effect
  readonly version: number
  readonly start: StartSource | null
  readonly coldCause: ColdCause | null
  readonly crashReason: CrashReason | null
  readonly phases: readonly Phase[]
  /** Set when the outcome is not `succeeded`. */
  readonly error: FunctionError | null
  /** Only for `rejected`. */
  readonly rejection: Rejection | null
  /** Of one that expired while it waited: the limit that it waited for. */
  readonly heldBy?: Overload | null
  readonly logTail: string | null
  /** The function's own status, type and headers, if it set any. */
  readonly head: { readonly status: number; readonly headers: readonly (readonly [string, string])[] } | null
  /** Whole result; at most `limits.payloadBytesMax`. Empty unless `succeeded`. */
  readonly body: Uint8Array
}

/** Callback style keeps the hot path free of promise chains: `done` is called exactly once. The returned function cancels. */
export type Invoke = (request: InvokeRequest, done: (reply: InvokeReply) => void) => (reason: string) => void

export type UrlInput = Pick<FunctionUrl, 'qualifier' | 'mode' | 'cors' | 'auth'>

export interface ProjectView extends Project {
  readonly usage: ProjectUsage
}

export interface KeyInput {
  readonly name: string
  readonly scopes: readonly string[]
  /** Default: the caller's. */
  readonly project?: string
  /** Whether its holder gets an access key to sign requests with. */
  readonly sigv4?: boolean
}

export interface FollowedLog {
  /** Which log this is: a function that is created again has another one, with offsets of its own. */
  readonly log: string
  readonly lines: AsyncIterable<LogLine>
}

export interface FoundUrl {
  readonly url: FunctionUrl
  /** Of the Version that it means now. */
  readonly contract: Contract
}

/** Everything the HTTP API can ask for. Each method checks the caller's scope itself; throws AppErrors:
 *  forbidden (out of scope, whether or not the name exists), not_found (inside the scope only), invalid, conflict, capacity.
 *  `invoke` throws synchronously or asynchronously never: authorisation and lookup failures of an invocation come from `authorizeInvoke`. */
export interface Control {
  /** The caller a bearer token stands for, or null. Constant-time in the secret. */
  authenticate(token: string): Promise<Caller | null>
  /** The same from memory alone; undefined = not cached, ask `authenticate`. */
  authenticateCached(token: string): Caller | null | undefined
  /** The caller whose access key made a signature. `wrong`: another secret, or other content. `unknown_key`: the signature is right, but the key was revoked;
   *  or no key of this platform has such an id. Constant-time in the secret, and the same whether or not there is such a key. */
  authenticateSigned(proof: SignatureProof): Promise<Caller | 'wrong' | 'unknown_key'>
  /** Throws forbidden, not_found, invalid (qualifier). Resolves synchronously from cache where it can: null = go on. */
  authorizeInvoke(caller: Caller, functionName: string, qualifier: string | null): Promise<void> | null
  readonly invoke: Invoke
  readonly newInvocationId: () => string
  functions: {
    create(caller: Caller, input: CreateFunction, options?: DeployOptions): Promise<FunctionView>
    /** A failed update leaves the function as it was. */
    update(caller: Caller, name: string, input: UpdateFunction, options?: DeployOptions): Promise<FunctionView>
    get(caller: Caller, name: string): Promise<FunctionView>
    list(caller: Caller, page: PageRequest): Promise<Page<FunctionView>>
    delete(caller: Caller, name: string): Promise<void>
    versions(caller: Caller, name: string, page: PageRequest): Promise<Page<DeployedVersion>>
    /** To the active version before `$LATEST`, or to `to`. */
    rollback(caller: Caller, name: string, to: number | null): Promise<FunctionView>
    /** For good. Throws not_found, conflict (it is pending or being called, or `$LATEST`, an alias or a URL means it). */
    deleteVersion(caller: Caller, name: string, number: number): Promise<void>
  }
  urls: {
    /** Creates or replaces the URL of a function. Throws not_found, invalid (cors, auth, qualifier), conflict (its host is another's). */
    put(caller: Caller, functionName: string, input: UrlInput): Promise<FunctionUrl>
    /** Throws not_found (function, or it has no URL). */
    get(caller: Caller, functionName: string): Promise<FunctionUrl>
    list(caller: Caller): Promise<readonly FunctionUrl[]>
    delete(caller: Caller, functionName: string): Promise<void>
    /** What the name in a host or path means; null = nothing. No scope: whoever serves the request checks who may. Throws not_found (version). */
    find(name: UrlName): Promise<FoundUrl | null>
    /** A line in the function's log about an answer that its URL could not give. */
    note(url: FunctionUrl, invocationId: string, text: string): void
  }
  aliases: {
    set(caller: Caller, functionName: string, name: string, version: number): Promise<Alias>
    list(caller: Caller, functionName: string): Promise<readonly Alias[]>
    delete(caller: Caller, functionName: string, name: string): Promise<void>
  }
  artifacts: {
    /** Uses `source` up: the memory of what it delivers is given back. `bytesExpected` null = not known ahead. */
    put(
      caller: Caller,
      source: Readable,
      about: { expect: Digest | null; kind: SourceKind; bytesExpected: number | null },
    ): Promise<Artifact>
    stat(caller: Caller, digest: Digest): Promise<Artifact | null>
  }
  layers: {
    /** Unpacks it first: throws what `artifacts.unpack` and `code` can throw. Scope `functions:write`, like `delete`; the others `functions:read`. */
    publish(
      caller: Caller,
      name: string,
      input: { code: CodeSource; description: string; runtimes: readonly string[] },
    ): Promise<LayerVersion>
    list(caller: Caller, page: PageRequest): Promise<Page<LayerVersion>>
    versions(caller: Caller, name: string): Promise<readonly LayerVersion[]>
    get(caller: Caller, ref: LayerRef): Promise<LayerVersion>
    /** Versions of functions that have it keep it. */
    delete(caller: Caller, ref: LayerRef): Promise<void>
  }
  builds: {
    /** Makes a bundle of an uploaded source, for the platform's own arch unless another is given; Scope `functions:write`. Throws as `Builder`. */
    build(
      caller: Caller,
      input: { source: Digest; runtime: string; handler: string; arch?: string | undefined },
      watch: BuildWatch,
    ): Promise<Built>
  }
  storage: {
    /** Stores `source` as the newest version of an object, making its bucket where that is the platform's own. `bytesExpected` null = not known ahead.
     *  Throws invalid (bucket, key, size), capacity (disk, buckets); with an S3 server, like the others here, as `ObjectServer`. Scope `storage:write`. */
    put(
      caller: Caller,
      at: { bucket: string; key: string },
      input: { source: Readable; bytesExpected: number | null },
    ): Promise<ObjectFacts>
    /** Scope `storage:read`. Throws not_found. */
    stat(caller: Caller, ref: ObjectRef): Promise<ObjectFacts>
    /** The bytes too; throws internal in the stream when they are damaged on disk. */
    open(caller: Caller, ref: ObjectRef): Promise<{ object: ObjectFacts; content: Readable }>
    list(caller: Caller, of: { bucket: string; prefix: string }, page: PageRequest): Promise<Page<ObjectFacts>>
    versions(caller: Caller, at: { bucket: string; key: string }): Promise<readonly ObjectFacts[]>
    buckets(caller: Caller): Promise<readonly BucketFacts[]>
    /** One version, or the object with all of them; a server that keeps versions keeps them. Bytes that functions run on stay. Scope `storage:write`. */
    delete(caller: Caller, ref: ObjectRef): Promise<void>
  }
  /** Throws not_found; also outside the caller's scope. */
  invocation(caller: Caller, id: string): Promise<Receipt>
  /** What waits and runs of a function, or of all of the project, then the latest that ended; newest first. */
  invocations(caller: Caller, functionName: string | null, limit: number): Promise<readonly Receipt[]>
  cancel(caller: Caller, id: string): Promise<boolean>
  logs: {
    tail(caller: Caller, functionName: string, lines: number): Promise<readonly LogLine[]>
    /** Lines from `fromOffset` until `signal` aborts. Throws not_found when `log` is that of an earlier function of the name; the lines do once theirs is deleted. */
    follow(
      caller: Caller,
      functionName: string,
      options: { fromOffset: number; log?: string; signal: AbortSignal },
    ): Promise<FollowedLog>
  }
  runtimes(caller: Caller): Promise<{ items: readonly RuntimeBuild[]; others: readonly OtherRuntime[] }>
  nodes(caller: Caller): Promise<readonly AgentStatus[]>
  secrets: {
    /** Creates or rotates; rotation retires warm Instances that hold it. */
    set(caller: Caller, name: string, value: string): Promise<SecretInfo>
    list(caller: Caller): Promise<readonly SecretInfo[]>
    delete(caller: Caller, name: string): Promise<void>
  }
  keys: {
    /** The token is in this answer and nowhere else; so is the access key, for who asks for one. */
    create(caller: Caller, input: KeyInput): Promise<{ key: Key; token: string; accessKey?: AccessKey }>
    list(caller: Caller): Promise<readonly Key[]>
    revoke(caller: Caller, id: string): Promise<Key>
    /** Calls `ended` once the key that `caller` came with is revoked; returns what ends the watch. */
    watch(caller: Caller, ended: () => void): Promise<() => void>
  }
  /** For the administrator of the installation; of one project its own administrator may see it too.
   *  Throws forbidden, whether or not it exists; inside the scope invalid (name, a quota out of range), conflict, not_found. */
  projects: {
    /** Quotas that are left out take their default. */
    create(caller: Caller, name: string, quotas?: Partial<ProjectQuotas>): Promise<Project>
    /** Holds at once: more may run and wait no longer; what runs beyond a lower quota comes to its end, functions beyond it stay. */
    update(caller: Caller, name: string, quotas: Partial<ProjectQuotas>): Promise<ProjectView>
    get(caller: Caller, name: string): Promise<ProjectView>
    list(caller: Caller): Promise<readonly Project[]>
  }
  audit(caller: Caller, page: PageRequest): Promise<Page<AuditEntry>>
  /** Prometheus text. Scope `metrics:read`. */
  metrics(caller: Caller): Promise<string>
  ready(): Promise<{ ready: boolean; detail: string }>
  /** Removes from the disk what nothing names, as a platform that was killed leaves it. Beside everything else; rejects never. */
  tidy(): Promise<void>
  drain(deadline: number): Promise<void>
}
