import type { FunctionUrl } from './function-url.ts'
import type { Alias, DeployedVersion, FunctionRecord, Version, VersionRef } from './function.ts'
import type { Digest } from './artifact.ts'
import type { LayerRef, LayerVersion } from './layer.ts'
import type { Bucket, ObjectRef, StoredObject } from './storage.ts'
import type { AuditEntry, Key, Project, ProjectQuotas, SecretInfo } from './project.ts'

export interface Page<T> {
  readonly items: readonly T[]
  readonly nextCursor: string | null
}

export interface PageRequest {
  readonly limit: number
  readonly cursor?: string
}

/** Who did what: written in the same transaction as the mutation it describes, where that is one of the store. */
export type AuditDraft = Omit<AuditEntry, 'seq' | 'time' | 'project'>

/** A Version as the caller knows it; the store gives it its number. */
export type NewVersion = Omit<Version, 'number' | 'createdAt'>

export interface FunctionWithVersion {
  readonly record: FunctionRecord
  readonly version: DeployedVersion
}

/** How a Version that was accepted before it could run is to be prepared. */
export interface Pending {
  /** It becomes active only if its code loads. */
  readonly mustLoad: boolean
}

/** All that must survive a crash. Every mutation resolves after its commit was synced to disk (fsync); every method is asynchronous and
 *  runs off the event loop. Implementations: store/sqlite; suite: test/contract/store.contract.ts. */
export interface Store {
  functions: {
    /** Version 1, `active`, or `pending` when it has yet to be prepared.
     *  Throws conflict (name taken), capacity (project's `functionsMax` reached), not_found (project). */
    create(version: NewVersion, audit: AuditDraft, pending?: Pending): Promise<FunctionWithVersion>
    /** Next version, active; `$LATEST` points to it, whatever is still pending. `expectLatest` (optional) throws conflict when another
     *  update came first. Throws not_found. */
    publish(version: NewVersion, audit: AuditDraft, expectLatest?: number): Promise<FunctionWithVersion>
    /** Next version, pending; `$LATEST` stays. `version` of the answer is the new one. Throws not_found. */
    accept(version: NewVersion, audit: AuditDraft, pending: Pending): Promise<FunctionWithVersion>
    /** A pending Version became active, and `$LATEST` unless it was repointed since; or failed, for `failure`.
     *  Throws not_found (function or version), conflict (not pending). */
    settle(
      of: { project: string; name: string; number: number },
      failure: string | null,
      audit: AuditDraft,
    ): Promise<FunctionRecord>
    /** Every pending Version of every project: what a platform that was killed has yet to prepare. */
    pending(): Promise<readonly (Pending & { version: DeployedVersion })[]>
    /** Repoints `$LATEST`; no pending Version moves it any more. Throws not_found (function or version), conflict (version not active). */
    setLatest(project: string, name: string, number: number, audit: AuditDraft): Promise<FunctionRecord>
    get(project: string, name: string): Promise<FunctionWithVersion | null>
    list(project: string, page: PageRequest): Promise<Page<FunctionWithVersion>>
    /** Newest first. */
    versions(project: string, name: string, page: PageRequest): Promise<Page<DeployedVersion>>
    version(project: string, name: string, number: number): Promise<DeployedVersion | null>
    /** Removes function, versions and aliases; the digests that its versions had, as code and layers. Throws not_found. */
    delete(project: string, name: string, audit: AuditDraft): Promise<readonly Digest[]>
    /** One Version, whose number is never given out again; the digests that it had. Throws not_found, conflict (it is pending, or `$LATEST`, an alias or
     *  a URL means it). */
    deleteVersion(of: { project: string; name: string; number: number }, audit: AuditDraft): Promise<readonly Digest[]>
  }
  storage: {
    /** A new newest version; makes the bucket. Beyond `limits.storage.versionsMax` the oldest goes: the digests that had.
     *  Throws not_found (project), capacity (`bucketsMax` reached). */
    put(
      object: Omit<StoredObject, 'createdAt'>,
      audit: AuditDraft,
    ): Promise<{ object: StoredObject; dropped: readonly Digest[] }>
    get(project: string, ref: ObjectRef): Promise<StoredObject | null>
    bucket(project: string, name: string): Promise<Bucket | null>
    buckets(project: string): Promise<readonly Bucket[]>
    /** The newest version of each object whose key begins with `prefix`, by key. */
    list(of: { project: string; bucket: string; prefix: string }, page: PageRequest): Promise<Page<StoredObject>>
    /** Every version of an object, newest first. */
    versions(project: string, bucket: string, key: string): Promise<readonly StoredObject[]>
    /** One version, or the object with all of them; a bucket goes with its last object. The digests they had. Throws not_found. */
    delete(project: string, ref: ObjectRef, audit: AuditDraft): Promise<readonly Digest[]>
    /** Whether anything of any project needs these bytes: a Version (as code or layer), an object, or a layer. O(Versions) at worst. */
    names(digest: Digest): Promise<boolean>
    /** Every digest that `names` says yes to. O(Versions). */
    named(): Promise<readonly Digest[]>
  }
  layers: {
    /** The next version of the layer, from 1. Throws not_found (project). */
    publish(layer: Omit<LayerVersion, 'number' | 'createdAt'>, audit: AuditDraft): Promise<LayerVersion>
    get(project: string, ref: LayerRef): Promise<LayerVersion | null>
    /** The newest version that is left of each layer, by name. */
    list(project: string, page: PageRequest): Promise<Page<LayerVersion>>
    /** Newest first. */
    versions(project: string, name: string): Promise<readonly LayerVersion[]>
    /** Its number is never given out again; the digest that it had. Throws not_found. */
    delete(project: string, ref: LayerRef, audit: AuditDraft): Promise<Digest>
  }
  aliases: {
    /** Creates or repoints. Throws not_found (function or version), conflict (version not active). */
    set(alias: Omit<Alias, 'updatedAt'>, audit: AuditDraft): Promise<Alias>
    get(project: string, functionName: string, name: string): Promise<Alias | null>
    list(project: string, functionName: string): Promise<readonly Alias[]>
    delete(project: string, functionName: string, name: string, audit: AuditDraft): Promise<void>
  }
  urls: {
    /** Creates or replaces the URL of a function. Throws not_found (function). */
    set(url: Omit<FunctionUrl, 'createdAt' | 'updatedAt'>, audit: AuditDraft): Promise<FunctionUrl>
    get(project: string, functionName: string): Promise<FunctionUrl | null>
    /** By a name as hosts spell it, which have no upper case; of two that differ in case alone, the one that has none. */
    find(project: string, name: string): Promise<FunctionUrl | null>
    list(project: string): Promise<readonly FunctionUrl[]>
    /** Throws not_found. It goes with its function too. */
    delete(project: string, functionName: string, audit: AuditDraft): Promise<void>
  }
  projects: {
    /** Throws conflict. */
    create(name: string, quotas: ProjectQuotas, audit: AuditDraft): Promise<Project>
    /** Sets the quotas that are given. What is there beyond a lower one stays. Throws not_found. */
    update(name: string, quotas: Partial<ProjectQuotas>, audit: AuditDraft): Promise<Project>
    get(name: string): Promise<Project | null>
    list(): Promise<readonly Project[]>
    /** How many functions it holds. O(functions of the project): 0.3 ms at 10,000. */
    functionCount(name: string): Promise<number>
  }
  keys: {
    create(key: Omit<Key, 'createdAt' | 'revokedAt'>, audit: AuditDraft): Promise<Key>
    get(id: string): Promise<Key | null>
    list(project: string): Promise<readonly Key[]>
    /** Throws not_found. */
    revoke(project: string, id: string, audit: AuditDraft): Promise<Key>
  }
  secrets: {
    /** Creates or replaces; the store sees ciphertext only. */
    set(project: string, name: string, sealed: Uint8Array, audit: AuditDraft): Promise<SecretInfo>
    sealed(project: string, names: readonly string[]): Promise<ReadonlyMap<string, Uint8Array>>
    list(project: string): Promise<readonly SecretInfo[]>
    /** Versions that name the secret and are called, or about to be: by `$LATEST`, by an alias, or pending. Each once. */
    users(project: string, name: string): Promise<readonly VersionRef[]>
    /** Throws not_found, conflict (a `$LATEST` or pending version or an alias still names it; lists which). */
    delete(project: string, name: string, audit: AuditDraft): Promise<void>
  }
  audit: {
    /** Of what was changed elsewhere than in this store. */
    add(project: string, entry: AuditDraft): Promise<void>
    /** Newest first. */
    list(project: string, page: PageRequest): Promise<Page<AuditEntry>>
  }
  /** Small facts of this installation, e.g. `schema`, `installedAt`. */
  meta: {
    get(key: string): Promise<string | null>
    set(key: string, value: string): Promise<void>
  }
  /** `PRAGMA quick_check` or its like; empty when sound. */
  check(): Promise<readonly string[]>
  close(): Promise<void>
}
