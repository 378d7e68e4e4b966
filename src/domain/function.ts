import type { Digest } from './artifact.ts'
import type { CodeOrigin } from './code-source.ts'
import type { PinnedLayer } from './layer.ts'
import type { Contract, RuntimeId } from './runtime.ts'
import type { SnapshotMode } from './snapshot.ts'

export type NetworkMode = 'none' | 'egress'
export type IsolationMode = 'auto' | 'process' | 'vm'
export type ReuseMode = 'sequential' | 'never'
export type Arch = 'x86_64' | 'arm64'

/** What a user declares of a Function; every field has a value once parsed (defaults: `limits`). */
export interface FunctionConfig {
  readonly description: string
  /** As the user wrote it; the Version carries the pinned build. */
  readonly runtime: string
  /** Empty where `contract` needs none. */
  readonly handler: string
  readonly contract: Contract
  /** What the bridge starts, program first; empty = what the contract has by default. */
  readonly command: readonly string[]
  /** Where a program with contract `http` listens, as $PORT says. */
  readonly port: number
  /** Requests that one Instance serves at a time; more than 1 with contract `http` only. */
  readonly instanceConcurrency: number
  readonly memoryMib: number
  readonly timeoutMs: number
  readonly initTimeoutMs: number
  readonly concurrency: number
  readonly ephemeralMib: number
  readonly env: Readonly<Record<string, string>>
  /** Environment name -> name of a project Secret; values are looked up at BIND, never stored here. */
  readonly secrets: Readonly<Record<string, string>>
  readonly network: NetworkMode
  readonly isolation: IsolationMode
  readonly reuse: ReuseMode
  /** How far a start may be taken from a snapshot; only microVMs have them. */
  readonly snapshot: SnapshotMode
  readonly arch: Arch
  readonly freezeAfterMs: number
  readonly keepAliveMs: number
  /** `name:number` of layers, unpacked below /opt in this order: later ones over earlier ones. */
  readonly layers: readonly string[]
  /** Scopes of the Instance's own identity towards the platform's API; none by default. */
  readonly permissions: readonly string[]
}

/** Immutable: code + configuration + runtime build + policy, numbered from 1 in its Function. */
export interface Version {
  readonly project: string
  readonly functionName: string
  readonly number: number
  readonly config: FunctionConfig
  readonly codeDigest: Digest
  readonly codeBytes: number
  /** Null for code that was uploaded. */
  readonly codeOrigin: CodeOrigin | null
  /** Of `config.layers`, in their order. */
  readonly layers: readonly PinnedLayer[]
  readonly runtimeId: RuntimeId
  readonly runtimeVersion: string
  readonly runtimeDigest: Digest
  /** Over network, secrets' names, permissions and isolation. */
  readonly policyDigest: Digest
  readonly createdAt: number
}

/** How far a Version is: `pending` until the agent has made it invocable, then `active` or `failed` for good. */
export const versionStates = ['pending', 'active', 'failed'] as const
export type VersionState = (typeof versionStates)[number]

/** A Version with what became of its preparation: the one thing about it that changes, and only once. */
export interface DeployedVersion extends Version {
  readonly state: VersionState
  /** Why it is `failed`; null otherwise. */
  readonly stateReason: string | null
}

/** The newest Version of a Function, while something else is `$LATEST` because it is not (or never came to be) active. */
export interface VersionUpdate {
  readonly version: number
  readonly state: Exclude<VersionState, 'active'>
  readonly reason: string | null
}

export interface FunctionRecord {
  readonly project: string
  readonly name: string
  /** The Version that `$LATEST` means; rollback repoints it. */
  readonly latest: number
  /** Highest number ever given out. */
  readonly versionCount: number
  readonly update: VersionUpdate | null
  readonly createdAt: number
  readonly updatedAt: number
}

export interface Alias {
  readonly project: string
  readonly functionName: string
  readonly name: string
  readonly version: number
  readonly updatedAt: number
}

/** Which Version, without what is in it. */
export type VersionRef = Pick<Version, 'project' | 'functionName' | 'number'>

/** Identity of a Version everywhere a string is needed: `project/name:number`. */
export function versionKey(version: VersionRef): string {
  return `${version.project}/${version.functionName}:${version.number}`
}

/** The inverse; null for a text that is no `versionKey`. */
export function parseVersionKey(key: string): VersionRef | null {
  const [, project, functionName, number] = /^([a-z0-9-]+)\/([A-Za-z0-9_-]+):([1-9]\d*)$/.exec(key) ?? []
  if (project === undefined || functionName === undefined) return null
  return { project, functionName, number: Number(number) }
}
