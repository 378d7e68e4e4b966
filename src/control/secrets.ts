import { createHash } from 'node:crypto'
import type { Agent, SecretSource } from '../domain/agent.ts'
import type { Caller, Control } from '../domain/control.ts'
import { invalid } from '../domain/error.ts'
import type { SecretInfo } from '../domain/project.ts'
import type { Store } from '../domain/store.ts'
import { demandRoomForValue } from './bind-room.ts'
import { demand } from './scopes.ts'
import type { Vault } from './vault.ts'

const valueBytesMax = 16 * 1024
const namePattern = /^[A-Za-z0-9_-]{1,64}$/

interface SecretsOptions {
  readonly store: Store
  readonly vault: Vault
  readonly agent: Pick<Agent, 'evict'>
  readonly source: SecretSource
}

/** Secrets of projects: sealed before they reach the store, opened only for a BIND. */
export class Secrets {
  readonly #store: Store
  readonly #vault: Vault
  readonly #agent: Pick<Agent, 'evict'>
  readonly #source: SecretSource

  constructor({ store, vault, agent, source }: SecretsOptions) {
    this.#store = store
    this.#vault = vault
    this.#agent = agent
    this.#source = source
  }

  get api(): Control['secrets'] {
    return {
      set: async (caller, name, value) => this.#set(caller, name, value),
      list: async (caller) => {
        demand(caller, 'secrets:read')
        return this.#store.secrets.list(caller.project)
      },
      delete: async (caller, name) => {
        demand(caller, 'secrets:write')
        await this.#store.secrets.delete(caller.project, name, {
          actor: caller.actor,
          action: 'secret.delete',
          target: name,
          detail: {},
        })
      },
    }
  }

  async #set(caller: Caller, name: string, value: string): Promise<SecretInfo> {
    demand(caller, 'secrets:write')
    if (!namePattern.test(name)) throw invalid('name', name, '1 to 64 letters, digits, "-" or "_"')
    const bytes = Buffer.byteLength(value)
    // The value itself never goes into a message.
    if (bytes === 0 || bytes > valueBytesMax || value.includes('\0'))
      throw invalid('value', `${bytes} bytes`, `1 to ${valueBytesMax} bytes without NUL`)
    const { project } = caller
    await demandRoomForValue({ store: this.#store, source: this.#source }, { project, secret: name, value })
    const sealed = this.#vault.seal(project, name, value)
    const info = await this.#store.secrets.set(project, name, sealed, {
      actor: caller.actor,
      action: 'secret.set',
      target: name,
      detail: {},
    })
    await this.#agent.evict({ project, secret: name })
    return info
  }
}

/** Opens sealed values at BIND; nothing is kept. */
export function secretSource({ store, vault }: { store: Store; vault: Vault }): SecretSource {
  return {
    async reveal(project, names) {
      const sealed = await store.secrets.sealed(project, names)
      const values = new Map([...sealed].map(([name, bytes]) => [name, vault.open(project, name, bytes)]))
      // Each sealing has randomness of its own: the digest of what came of it is that of nothing else.
      const hash = createHash('sha256')
      for (const name of [...sealed.keys()].toSorted()) hash.update(`${name}\0`).update(sealed.get(name) ?? '')
      return { values, stamp: hash.digest('hex') }
    },
  }
}
