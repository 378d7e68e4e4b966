import { directContract } from '../domain/default-config.ts'
import type { Clock } from '../domain/clock.ts'
import { AppError } from '../domain/error.ts'
import type { Version } from '../domain/function.ts'
import type { SnapshotKind } from '../domain/snapshot.ts'
import { bindMessage, bindSpec, type PlaceNames } from './binding.ts'
import type { Code } from './code-cache.ts'
import type { Instance } from './instance.ts'

/** What goes into a snapshot beside a booted runtime, and what its clones are bound to when they are compared. */
export interface Recipe {
  readonly kind: SnapshotKind
  /** `versionKey`; null for a runtime snapshot. */
  readonly owner: string | null
  readonly codeImage: string | null
  readonly prepare: (instance: Instance) => Promise<void>
  /** `secretEnv` as secrets are handed over. */
  readonly bindClone: (instance: Instance, secretEnv: Readonly<Record<string, string>>) => Promise<void>
}

interface Binding {
  readonly names: PlaceNames
  readonly clock: Clock
}

const readyMsMax = 60_000

/** The protocol wants a BIND before an INVOKE; with purpose `compile` it loads nothing. */
export async function bindNothing(
  instance: Instance,
  secretEnv: Readonly<Record<string, string>>,
  { names, clock }: Binding,
): Promise<void> {
  await ready(instance, clock, () =>
    instance.link.bind({
      function: 'snapshot',
      version: '0',
      project: 'hearth',
      handler: 'none.none',
      memoryMib: 128,
      timeoutMs: 1_000,
      env: secretEnv,
      ...{ taskRoot: '/var/task', cacheRoot: null },
      ...names,
      logGroup: '/hearth/snapshot',
      logStream: instance.id,
      purpose: 'compile',
      ...directContract,
    }),
  )
}

/** Without the Version's secrets: what is in a snapshot is in every clone, and on disk. */
export async function bindVersion(
  instance: Instance,
  { version, code, secretEnv }: { version: Version; code: Code; secretEnv: Readonly<Record<string, string>> },
  { names, clock }: Binding,
): Promise<void> {
  const files = await instance.sandbox.bind(bindSpec(version, code))
  const { container } = code
  const of = { instance: instance.id, files, secretEnv, names, purpose: 'serve', container } as const
  const message = bindMessage(version, of)
  await ready(instance, clock, () => instance.link.bind(message))
}

/** Resolves at READY after `bind`; rejects with guest_failed when the code does not load. */
function ready(instance: Instance, clock: Clock, bind: () => void): Promise<void> {
  return new Promise((resolve, reject) => {
    const fail = (why: string): void => {
      timer.cancel()
      reject(new AppError('guest_failed', `Cannot take a snapshot: ${why}.`))
    }
    const timer = clock.schedule(readyMsMax, () => fail(`the code did not load within ${readyMsMax} ms`))
    instance.owner = {
      onLoaded: () => {
        timer.cancel()
        resolve()
      },
      onLoadFailed: (_instance, { errorType, errorMessage }) => fail(`${errorType}: ${errorMessage}`),
      onDead: (_instance, { exit, breach }) => fail(breach ?? `the guest ended (${exit?.signal ?? exit?.code})`),
      onQuiet: () => {},
    }
    bind()
  })
}
