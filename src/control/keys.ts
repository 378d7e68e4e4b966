import type { Clock } from '../domain/clock.ts'
import type { Caller } from '../domain/control.ts'
import { AppError } from '../domain/error.ts'
import type { Key } from '../domain/project.ts'
import type { Store } from '../domain/store.ts'
import { allows, demand, forbidden, grantable } from './scopes.ts'
import { newKeyId, type Vault } from './vault.ts'

/** Unknown key ids stay known as unknown this long, so that guessing does not reach the store each time. */
const unknownMs = 5_000
const unknownMax = 10_000

/** Credentials: bearer tokens to Callers, from memory once seen. */
export class Keys {
  readonly #store: Store
  readonly #vault: Vault
  readonly #clock: Clock
  readonly #callers = new Map<string, Caller>()
  readonly #unknown = new Map<string, number>()

  constructor({ store, vault, clock }: { store: Store; vault: Vault; clock: Clock }) {
    this.#store = store
    this.#vault = vault
    this.#clock = clock
  }

  /** The Caller, null for a token that is not valid, undefined when the store must be asked. The secret is compared in constant time. */
  cached(token: string): Caller | null | undefined {
    const id = this.#vault.verifyToken(token)
    if (id === null) return null
    const caller = this.#callers.get(id)
    if (caller !== undefined) return caller
    const until = this.#unknown.get(id)
    return until !== undefined && until > this.#clock.nowMs() ? null : undefined
  }

  async authenticate(token: string): Promise<Caller | null> {
    const cached = this.cached(token)
    if (cached !== undefined) return cached
    const id = this.#vault.verifyToken(token)
    const key = id === null ? null : await this.#store.keys.get(id)
    if (key === null || key.revokedAt !== null) {
      if (this.#unknown.size >= unknownMax) this.#unknown.clear()
      if (id !== null) this.#unknown.set(id, this.#clock.nowMs() + unknownMs)
      return null
    }
    const caller: Caller = { actor: key.id, project: key.project, scopes: key.scopes }
    this.#callers.set(key.id, caller)
    return caller
  }

  async create(
    caller: Caller,
    input: { name: string; scopes: readonly string[]; project?: string },
  ): Promise<{ key: Key; token: string }> {
    demand(caller, 'keys:write')
    const project = input.project ?? caller.project
    if (project !== caller.project) await this.#demandOtherProject(caller, project)
    const scopes = grantable(caller, input.scopes, 'scopes')
    const id = newKeyId()
    const audit = { actor: caller.actor, action: 'key.create', target: id, detail: { name: input.name, scopes } }
    const key = await this.#store.keys.create({ id, project, name: input.name, scopes }, audit)
    this.#unknown.delete(id)
    return { key, token: this.#vault.tokenFor(id) }
  }

  async list(caller: Caller): Promise<readonly Key[]> {
    demand(caller, 'keys:write')
    return this.#store.keys.list(caller.project)
  }

  async revoke(caller: Caller, id: string): Promise<Key> {
    demand(caller, 'keys:write')
    const audit = { actor: caller.actor, action: 'key.revoke', target: id, detail: {} }
    const key = await this.#store.keys.revoke(caller.project, id, audit)
    this.#callers.delete(id)
    return key
  }

  /** Keys of another project are for the administrator of the installation: an admin of the default project. */
  async #demandOtherProject(caller: Caller, project: string): Promise<void> {
    if (!isInstallationAdmin(caller)) throw forbidden('admin')
    if ((await this.#store.projects.get(project)) === null)
      throw new AppError('not_found', `There is no project "${project}".`)
  }
}

/** Projects are made and entered by an admin of the default project only. */
export function isInstallationAdmin(caller: Caller): boolean {
  return caller.project === 'default' && allows(caller.scopes, 'admin')
}
