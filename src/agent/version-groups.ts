import { versionKey, type Version } from '../domain/function.ts'
import type { Instance } from './instance.ts'
import type { FunctionLogs } from './logs/function-logs.ts'
import type { GroupHost } from './group-host.ts'
import { VersionGroup } from './version-group.ts'

export interface EvictFilter {
  readonly project: string
  readonly functionName?: string
  readonly version?: number
  readonly secret?: string
}

/** About 1 KiB each. */
const groupsMax = 20_000

/** The groups of all Versions that ran here. */
export class VersionGroups {
  readonly #host: GroupHost
  readonly #logs: FunctionLogs
  readonly #forgotten: (version: Version) => void
  readonly #byKey = new Map<string, VersionGroup>()
  /** Of deleted functions, as long as something of them lives. */
  readonly #closed = new Set<VersionGroup>()
  /** The same by identity: the control hands in the same object again and again. */
  readonly #byVersion = new WeakMap<Version, VersionGroup>()
  readonly #owners = new Map<string, { epoch: number }>()

  constructor(host: GroupHost, options: { logs: FunctionLogs; forgotten: (version: Version) => void }) {
    this.#host = host
    this.#logs = options.logs
    this.#forgotten = options.forgotten
  }

  of(version: Version): VersionGroup {
    return this.#byVersion.get(version) ?? this.#find(version)
  }

  *all(): Generator<VersionGroup> {
    yield* this.#byKey.values()
    for (const group of this.#closed)
      if (group.isEmpty) this.#closed.delete(group)
      else yield group
  }

  *instances(): Generator<Instance> {
    for (const group of this.all()) {
      yield* group.live
      yield* group.goodbyes.instances()
    }
  }

  isStarting(): boolean {
    for (const group of this.all()) if (group.starts.size > 0) return true
    return false
  }

  evict(filter: EvictFilter): number {
    let evicted = 0
    for (const group of this.all()) if (isMeant(group.version, filter)) evicted += group.retire()
    return evicted
  }

  /** Of a function that is deleted. */
  close(filter: EvictFilter): void {
    for (const group of this.#byKey.values())
      if (isMeant(group.version, filter)) {
        this.#close(group)
        this.#forgotten(group.version)
      }
  }

  /** Takes the rest of its time from one Instance that was asked to end, for its memory; false when there is none. */
  hurryOne(): boolean {
    for (const group of this.all()) if (group.goodbyes.cutOne()) return true
    return false
  }

  /** Resolves when every Instance that was asked to end has. */
  async left(): Promise<void> {
    await Promise.all([...this.all()].map(async (group) => group.goodbyes.over()))
  }

  /** Evicts the idle Instance that rested longest, of any Version but `but`; false when there is none. O(groups), on shortage alone. */
  evictOldest(but: Version): boolean {
    const nowMs = this.#host.clock.monotonicMs()
    let oldest: { group: VersionGroup; instance: Instance } | null = null
    for (const group of this.all()) {
      const instance = group.version === but ? null : group.resting.oldest(group.live.size, nowMs)
      if (instance === null || (oldest !== null && oldest.instance.idleSinceMs <= instance.idleSinceMs)) continue
      oldest = { group, instance }
    }
    oldest?.group.discard(oldest.instance, 'evicted')
    return oldest !== null
  }

  /** O(groups) at most every few ms, 10 us for 1,000; next step is a heap of due times. */
  sweep(nowMs: number): number {
    let next = Infinity
    for (const group of this.all()) {
      const dueMs = group.sweep(nowMs)
      if (dueMs < next) next = dueMs
    }
    return next
  }

  #find(version: Version): VersionGroup {
    const key = versionKey(version)
    const known = this.#byKey.get(key)
    const group = known !== undefined && isSame(known.version, version) ? known : this.#make(key, version, known)
    this.#byVersion.set(version, group)
    return group
  }

  /** A group without Instances only remembers why the last one went: of many, the oldest are forgotten. */
  #forgetSome(): void {
    for (const [key, group] of this.#byKey) {
      if (this.#byKey.size < groupsMax) return
      if (!group.isEmpty) continue
      this.#byKey.delete(key)
      this.#byVersion.delete(group.version)
      this.#forgotten(group.version)
    }
  }

  #make(key: string, version: Version, before: VersionGroup | undefined): VersionGroup {
    if (this.#byKey.size >= groupsMax) this.#forgetSome()
    // A function was deleted and made again: its numbers begin anew.
    if (before !== undefined) this.#close(before)
    const name = `${version.project}/${version.functionName}`
    const owner = this.#owners.get(name) ?? { epoch: 0 }
    this.#owners.set(name, owner)
    const log = this.#logs.of(version.project, version.functionName)
    const group = new VersionGroup(this.#host, { version, log, owner })
    this.#byKey.set(key, group)
    return group
  }

  #close(group: VersionGroup): void {
    this.#byKey.delete(group.key)
    group.close()
    this.#closed.add(group)
  }
}

function isSame(a: Version, b: Version): boolean {
  return (
    a === b || (a.codeDigest === b.codeDigest && a.createdAt === b.createdAt && a.runtimeDigest === b.runtimeDigest)
  )
}

/** Whether `filter` means Instances of `version`. */
export function isMeant(version: Version, filter: EvictFilter): boolean {
  return (
    version.project === filter.project &&
    (filter.functionName === undefined || version.functionName === filter.functionName) &&
    (filter.version === undefined || version.number === filter.version) &&
    (filter.secret === undefined || Object.values(version.config.secrets).includes(filter.secret))
  )
}
