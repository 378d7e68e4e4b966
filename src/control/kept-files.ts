import type { Agent } from '../domain/agent.ts'
import type { FunctionRecord } from '../domain/function.ts'
import type { Logger } from '../domain/logger.ts'
import type { Store } from '../domain/store.ts'

/* What nodes keep of Versions so that they start fast (function snapshots, code images) is kept for those that somebody names: by `$LATEST` or an
 * alias, those on their way, and where a rollback goes. The others have it made again when they are called. */

interface Parts {
  readonly agent: Agent
  readonly store: Store
}

/** Of a function as it is now; everything, when it is gone. */
export async function forgetUnnamed(
  { agent, store }: Parts,
  { project, name }: { project: string; name: string },
): Promise<void> {
  const kept = await agent.kept({ project, functionName: name })
  if (kept.length === 0) return
  const found = await store.functions.get(project, name)
  const named = found === null ? new Set() : await namedVersions(store, found.record)
  for (const ref of kept) if (!named.has(ref.number)) await agent.forget(ref)
}

/** The same for all that an earlier platform left. Beside the start: nobody waits for it. */
export async function forgetLeft(
  { logger, ...parts }: Parts & { readonly logger: Logger },
  inTurn: (project: string, name: string, work: () => Promise<void>) => Promise<void>,
): Promise<void> {
  try {
    const functions = Map.groupBy(await parts.agent.kept(), (ref) => `${ref.project}/${ref.functionName}`)
    for (const [ref] of functions.values()) {
      if (ref === undefined) continue
      const { project, functionName: name } = ref
      await inTurn(project, name, async () => forgetUnnamed(parts, { project, name }))
    }
  } catch (error) {
    logger.warn('functions.tidy.failed', { error: String(error) })
  }
}

/** The last version below `$LATEST` that can run: failed ones are passed over. */
export async function activeBefore(store: Store, { project, name, latest }: FunctionRecord): Promise<number | null> {
  for (let number = latest - 1; number >= 1; number--)
    if ((await store.functions.version(project, name, number))?.state === 'active') return number
  return null
}

async function namedVersions(store: Store, record: FunctionRecord): Promise<ReadonlySet<number | null>> {
  const { project, name, latest, update } = record
  const aliases = await store.aliases.list(project, name)
  const pending = update?.state === 'pending' ? update.version : null
  return new Set([latest, pending, await activeBefore(store, record), ...aliases.map(({ version }) => version)])
}
