import { AppError } from './error.ts'
import { limits } from './limits.ts'

/** A tenant's name space: names, keys, secrets and quotas of two projects never meet. */
export interface Project {
  readonly name: string
  readonly createdAt: number
  readonly quotas: ProjectQuotas
}

/** Ranges and defaults: `limits.project`. */
export interface ProjectQuotas {
  readonly functionsMax: number
  /** Sum of running invocations over all functions. */
  readonly concurrencyMax: number
}

/** How much of its quotas a project uses now, and what waits. */
export interface ProjectUsage {
  readonly functions: number
  readonly running: number
  readonly queued: number
}

export const defaultProject = 'default'
export const defaultQuotas: ProjectQuotas = {
  functionsMax: limits.project.functionsMax.default,
  concurrencyMax: limits.project.concurrencyMax.default,
}

/** No function more fits into the project. It is no lack of room that passes by itself. */
export function functionsFull(project: string, functionName: string, functionsMax: number): AppError {
  const holds = `project "${project}" already holds its maximum of ${functionsMax} functions (quota functionsMax)`
  const fix = `Delete one, or let an administrator raise it: "hearth project update ${project} --max-functions N".`
  return new AppError('capacity', `Cannot create function "${functionName}": ${holds}. ${fix}`, { retryable: false })
}

/** A credential. The bearer token is `hth_<id>_<secret>`; the secret is derived from the master key, so nothing secret is stored. */
export interface Key {
  readonly id: string
  readonly project: string
  readonly name: string
  readonly scopes: readonly string[]
  readonly createdAt: number
  readonly revokedAt: number | null
}

/** What requests are signed with in AWS Signature Version 4. Derived from the master key, as the token is. */
export interface AccessKey {
  readonly accessKeyId: string
  readonly secretAccessKey: string
}

/** Value is encrypted at rest and never leaves the store in an answer. */
export interface SecretInfo {
  readonly project: string
  readonly name: string
  readonly revision: number
  readonly createdAt: number
  readonly updatedAt: number
}

export interface AuditEntry {
  readonly seq: number
  readonly time: number
  readonly project: string
  /** Key id, or `instance:<function>`. */
  readonly actor: string
  /** `function.create`, `secret.set` ... */
  readonly action: string
  readonly target: string
  readonly detail: Readonly<Record<string, unknown>>
}

/** What a key, or an Instance's identity, may do. `*` in the name part means every function of the project. */
export const scopeKinds = [
  'admin',
  'functions:read',
  'functions:write',
  'invoke',
  'logs:read',
  'secrets:read',
  'secrets:write',
  'storage:read',
  'storage:write',
  'keys:write',
  'audit:read',
  'metrics:read',
  'nodes:read',
] as const
