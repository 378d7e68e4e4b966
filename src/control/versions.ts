import type { VersionSource } from '../domain/agent.ts'
import type { Caller } from '../domain/control.ts'
import { AppError, invalid } from '../domain/error.ts'
import type { DeployedVersion, FunctionRecord } from '../domain/function.ts'
import { namePattern } from '../domain/limits.ts'
import type { Store } from '../domain/store.ts'
import { demand } from './scopes.ts'

interface Entry {
  readonly record: FunctionRecord
  /** Active ones by qualifier: `$LATEST`, a number, or an alias. The same Version is always the same object. */
  readonly byQualifier: Map<string, DeployedVersion>
  readonly byNumber: Map<number, DeployedVersion>
}

/** Most functions that stay resolved in memory; beyond, the one resolved longest ago is looked up again. */
const entriesMax = 50_000

/** What a name and a qualifier mean now, from memory: filled from the store, dropped at every mutation of the function. */
export class VersionCache {
  readonly #store: Store
  readonly #entries = new Map<string, Entry>()
  /** Raised at each `forget`: a lookup that began before it must not fill the cache with what it read. */
  #epoch = 0

  constructor(store: Store) {
    this.#store = store
  }

  /** The Version if it is in memory and active. */
  cached(project: string, name: string, qualifier: string | null): DeployedVersion | undefined {
    return this.#entries.get(`${project}/${name}`)?.byQualifier.get(qualifierKey(qualifier))
  }

  /** The Version, whatever its state. Throws not_found (function, version or alias), invalid (qualifier). */
  async resolve(project: string, name: string, qualifier: string | null): Promise<DeployedVersion> {
    const cached = this.cached(project, name, qualifier)
    if (cached !== undefined) return cached
    const entry = await this.#entry(project, name)
    const number =
      qualifierKey(qualifier) === latest ? entry.record.latest : await this.#numberOf(project, name, qualifier ?? '')
    const version = entry.byNumber.get(number) ?? (await this.#store.functions.version(project, name, number))
    if (version === null) throw noVersion(name, qualifier ?? '')
    if (version.state !== 'active') return version
    entry.byNumber.set(number, version)
    entry.byQualifier.set(qualifierKey(qualifier), version)
    return version
  }

  /** The same, of a function that was not changed while it was looked up: what is deleted by then is not found. */
  async resolveNow(project: string, name: string, qualifier: string | null): Promise<DeployedVersion> {
    for (;;) {
      const epoch = this.#epoch
      const version = await this.resolve(project, name, qualifier)
      if (epoch === this.#epoch) return version
    }
  }

  forget(project: string, name: string): void {
    this.#epoch++
    this.#entries.delete(`${project}/${name}`)
  }

  async #entry(project: string, name: string): Promise<Entry> {
    const key = `${project}/${name}`
    const known = this.#entries.get(key)
    if (known !== undefined) return known
    const epoch = this.#epoch
    const found = namePattern.test(name) ? await this.#store.functions.get(project, name) : null
    if (found === null) throw notFound(name)
    const raced = this.#entries.get(key)
    if (raced !== undefined) return raced
    const isActive = found.version.state === 'active'
    const entry: Entry = {
      record: found.record,
      byQualifier: new Map(isActive ? [['', found.version]] : []),
      byNumber: new Map(isActive ? [[found.version.number, found.version]] : []),
    }
    if (epoch !== this.#epoch) return entry
    const oldest = this.#entries.size >= entriesMax ? this.#entries.keys().next().value : undefined
    if (oldest !== undefined) this.#entries.delete(oldest)
    this.#entries.set(key, entry)
    return entry
  }

  async #numberOf(project: string, name: string, qualifier: string): Promise<number> {
    if (/^[1-9]\d{0,8}$/.test(qualifier)) return Number(qualifier)
    if (!namePattern.test(qualifier)) throw invalid('qualifier', qualifier, '$LATEST, a version number or an alias')
    const alias = await this.#store.aliases.get(project, name, qualifier)
    if (alias === null) throw noVersion(name, qualifier)
    return alias.version
  }
}

/** For an agent that finds Instances of an earlier one. */
export function activeVersions(store: Store): VersionSource {
  return {
    async find(project, functionName, number) {
      const version = await store.functions.version(project, functionName, number)
      return version?.state === 'active' ? version : null
    },
  }
}

const latest = '$LATEST'

function qualifierKey(qualifier: string | null): string {
  return qualifier ?? latest
}

export function notFound(name: string): AppError {
  return new AppError('not_found', `There is no function "${name}".`)
}

/** The function is there, what was asked of it is not. */
export function noVersion(name: string, qualifier: string): AppError {
  const what = /^\d+$/.test(qualifier) ? 'version' : 'version or alias'
  return new AppError('not_found', `There is no "${name}:${qualifier}": the function has no such ${what}.`)
}

/** Throws forbidden before it looks, then not_found. */
export async function demandFunction(
  store: Store,
  { caller, scope, name }: { caller: Caller; scope: string; name: string },
): Promise<FunctionRecord> {
  demand(caller, scope)
  const found = namePattern.test(name) ? await store.functions.get(caller.project, name) : null
  if (found === null) throw notFound(name)
  return found.record
}
