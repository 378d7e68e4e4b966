import type { SecretSource } from '../domain/agent.ts'
import { AppError, invalid } from '../domain/error.ts'
import type { FunctionConfig, VersionRef } from '../domain/function.ts'
import { limits } from '../domain/limits.ts'
import type { Store } from '../domain/store.ts'

/* Refuses at a deploy, and when a secret gets a value, what no Instance could be started with: environment, secrets and command go to an Instance in
 * one piece of JSON, in which a control character takes six bytes. What an image brings of its own environment is known at a start only. */

const roomBytes = limits.boundBytesMax
/** Versions looked at together: 6 MiB of them at most. */
const atOnce = 100

/** What of a configuration a BIND holds. */
type Bound = Pick<FunctionConfig, 'env' | 'secrets' | 'command'>

type Values = ReadonlyMap<string, string>

/** Whether an Instance of `config` could be started, its secrets having these values. Throws invalid (secrets), not naming values. */
export function demandRoom(config: Bound, values: Values): void {
  const bytes = bytesOf(config, values)
  if (bytes > roomBytes)
    throw invalid(
      'secrets',
      `${bytes} bytes as JSON`,
      `at most ${roomBytes} bytes as JSON, together with env and command`,
    )
}

/** Whether every Version that has `secret` and is called, or about to be, could still be started if `value` was its value. Looks at them where the
 *  value takes more than before: about 0.1 ms for each. Throws invalid (value), naming the function. */
export async function demandRoomForValue(
  { store, source }: { store: Pick<Store, 'functions' | 'secrets'>; source: SecretSource },
  { project, secret, value }: { project: string; secret: string; value: string },
): Promise<void> {
  const own = jsonBytes(value)
  refuseMore(own, '')
  const opened = async (names: readonly string[]): Promise<Values> => openable(source, project, names)
  const before = (await opened([secret])).get(secret)
  if (before !== undefined && jsonBytes(before) >= own) return
  const bytesWith = async ({ functionName, number }: VersionRef): Promise<number> => {
    const version = await store.functions.version(project, functionName, number)
    if (version === null) return 0
    const values = await opened([...new Set(Object.values(version.config.secrets))])
    return bytesOf(version.config, new Map([...values, [secret, value]]))
  }
  const users = await store.secrets.users(project, secret)
  for (let at = 0; at < users.length; at += atOnce) {
    const some = users.slice(at, at + atOnce)
    const sizes = await Promise.all(some.map(bytesWith))
    for (const [n, { functionName, number }] of some.entries())
      refuseMore(
        sizes[n] ?? 0,
        ` with the environment and other secrets of function "${functionName}", version ${number}`,
      )
  }
}

/** What was sealed with another master key, or is damaged, counts nothing: it can but be set again, and that must not fail for it. */
async function openable(source: SecretSource, project: string, names: readonly string[]): Promise<Values> {
  const each = names.map(async (name) => {
    try {
      return [...(await source.reveal(project, [name])).values]
    } catch (error) {
      if (error instanceof AppError && error.code === 'internal') return []
      throw error
    }
  })
  return new Map((await Promise.all(each)).flat())
}

function refuseMore(bytes: number, of: string): void {
  if (bytes > roomBytes)
    throw invalid('value', `${bytes} bytes as JSON${of}`, `at most ${roomBytes} bytes as JSON${of}`)
}

function bytesOf({ env, secrets, command }: Bound, values: Values): number {
  const opened = Object.entries(secrets).map(([variable, name]) => [variable, values.get(name)] as const)
  return jsonBytes({ env: { ...env, ...Object.fromEntries(opened) }, command })
}

function jsonBytes(value: unknown): number {
  return Buffer.byteLength(JSON.stringify(value))
}
