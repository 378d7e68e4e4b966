import type { Caller, CreateFunction } from '../domain/control.ts'
import { invalid } from '../domain/error.ts'
import type { FunctionConfig } from '../domain/function.ts'
import { limits } from '../domain/limits.ts'
import type { Store } from '../domain/store.ts'
import { demand } from './scopes.ts'
import type { Vault } from './vault.ts'

const roomBytes = limits.boundBytesMax
const pageLimit = 500

/** What of a configuration a BIND holds, opened. */
type Bound = Partial<Pick<FunctionConfig, 'env' | 'secrets' | 'command'>>

/** Refuses at a deploy, and when a secret gets a value, what no Instance could be started with: environment, secrets and command go to an Instance in
 *  one piece of JSON, in which a control character takes six bytes. What an image brings of its own environment is known at a start only. */
export class BindRoom {
  readonly #store: Store
  readonly #vault: Vault

  constructor({ store, vault }: { store: Store; vault: Vault }) {
    this.#store = store
    this.#vault = vault
  }

  /** Throws invalid (secrets), not naming values; forbidden as the deploy itself would. */
  async demandFor(caller: Caller, name: string | null, input: CreateFunction['config'] | Bound): Promise<void> {
    if ((input.env ?? input.secrets ?? input.command) === undefined) return
    demand(caller, 'functions:write')
    const base =
      name === null ? null : ((await this.#store.functions.get(caller.project, name))?.version.config ?? null)
    const { env = base?.env, secrets = base?.secrets, command = base?.command } = input
    const bytes = await this.#bytesOf(caller.project, {
      env: env ?? {},
      secrets: secrets ?? {},
      command: command ?? [],
    })
    if (bytes > roomBytes)
      throw invalid(
        'secrets',
        `${bytes} bytes as JSON`,
        `at most ${roomBytes} bytes as JSON, together with env and command`,
      )
  }

  /** Whether every function that has `secret` could still be started if `value` was its value. Goes through the functions of the project where the
   *  value takes more than before: about 0.1 s for 10,000. */
  async demandForValue(project: string, secret: string, value: string): Promise<void> {
    const own = jsonBytes(value)
    const tell = (bytes: number, of: string): void => {
      if (bytes > roomBytes)
        throw invalid('value', `${bytes} bytes as JSON${of}`, `at most ${roomBytes} bytes as JSON${of}`)
    }
    tell(own, '')
    const before = (await this.#store.secrets.sealed(project, [secret])).get(secret)
    if (before !== undefined && jsonBytes(this.#vault.open(project, secret, before)) >= own) return
    let cursor: string | null = null
    do {
      const page: Awaited<ReturnType<Store['functions']['list']>> = await this.#store.functions.list(project, {
        limit: pageLimit,
        ...(cursor !== null && { cursor }),
      })
      for (const { record, version } of page.items) {
        if (!Object.values(version.config.secrets).includes(secret)) continue
        const bytes = await this.#bytesOf(project, version.config, { secret, value })
        tell(bytes, ` with the environment and other secrets of function "${record.name}"`)
      }
      cursor = page.nextCursor
    } while (cursor !== null)
  }

  /** A secret that is not there counts nothing: the deploy refuses it by name. */
  async #bytesOf(
    project: string,
    { env, secrets, command }: Required<Bound>,
    changed?: { readonly secret: string; readonly value: string },
  ): Promise<number> {
    const sealed = await this.#store.secrets.sealed(project, [...new Set(Object.values(secrets))])
    const opened = Object.entries(secrets).map(([variable, name]) => {
      const bytes = sealed.get(name)
      const value =
        name === changed?.secret ? changed.value : bytes === undefined ? '' : this.#vault.open(project, name, bytes)
      return [variable, value] as const
    })
    return jsonBytes({ env: { ...env, ...Object.fromEntries(opened) }, command })
  }
}

function jsonBytes(value: unknown): number {
  return Buffer.byteLength(JSON.stringify(value))
}
