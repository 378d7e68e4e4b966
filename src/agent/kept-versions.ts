import type { Agent } from '../domain/agent.ts'
import { parseVersionKey, versionKey, type VersionRef } from '../domain/function.ts'
import type { Logger } from '../domain/logger.ts'
import type { LocalAgentOptions } from './local-agent-options.ts'
import type { Sources } from './sources.ts'

/** Who keeps something of a Version on this node's disk so that it starts fast. */
export interface Keepers {
  readonly sources: Pick<Sources, 'owners' | 'forget'>
  readonly images: LocalAgentOptions['images']
  readonly logger: Logger
}

export async function keptVersions(
  { sources, images }: Keepers,
  of: Parameters<Agent['kept']>[0],
): Promise<readonly VersionRef[]> {
  const owners = new Set([...sources.owners(), ...((await images?.codeOwners()) ?? [])])
  return [...owners].flatMap((owner) => {
    const ref = parseVersionKey(owner)
    if (ref === null) return []
    return of === undefined || (ref.project === of.project && ref.functionName === of.functionName) ? [ref] : []
  })
}

export async function forgetVersion({ sources, images, logger }: Keepers, version: VersionRef): Promise<void> {
  const owner = versionKey(version)
  try {
    await sources.forget(owner)
    await images?.forgetCode(owner)
  } catch (error) {
    logger.warn('version.forget.failed', { version: owner, error: String(error) })
  }
}
