import type { Agent } from '../domain/agent.ts'
import type { Control } from '../domain/control.ts'
import { AppError } from '../domain/error.ts'
import type { Store } from '../domain/store.ts'
import type { Blobs } from './blobs.ts'
import type { Functions } from './functions.ts'
import type { Invoker } from './invoke.ts'
import { demand } from './scopes.ts'
import type { VersionCache } from './versions.ts'

interface Parts {
  readonly store: Store
  readonly agent: Pick<Agent, 'evict' | 'forget'>
  readonly versions: VersionCache
  readonly blobs: Pick<Blobs, 'releaseSoon'>
  readonly invoker: Pick<Invoker, 'active'>
  readonly functions: Pick<Functions, 'inTurn'>
}

/** One Version goes for good, with what only it needed; nothing that somebody may still call by a name of its own, or is calling. */
export function versionDeletion(parts: Parts): Pick<Control['functions'], 'deleteVersion'> {
  const { store, agent, versions, blobs, functions } = parts
  return {
    async deleteVersion(caller, name, number) {
      demand(caller, 'functions:write')
      const { project, actor } = caller
      await functions.inTurn(project, name, async () => {
        refuseCalled(parts.invoker, { project, name, number })
        const audit = { actor, action: 'version.delete', target: `${name}:${number}`, detail: {} }
        const digests = await store.functions.deleteVersion({ project, name, number }, audit)
        versions.forget(project, name)
        await agent.evict({ project, functionName: name, version: number })
        await agent.forget({ project, functionName: name, number })
        blobs.releaseSoon(digests)
      })
    },
  }
}

function refuseCalled(
  { active }: Pick<Invoker, 'active'>,
  { project, name, number }: { project: string; name: string; number: number },
): void {
  for (const run of active) {
    const { request, sealed } = run
    if (sealed !== null || request.functionName !== name || request.caller.project !== project) continue
    if (run.view().version === number)
      throw new AppError(
        'conflict',
        `Cannot delete: version ${number} of function "${name}" is being called (invocation ${run.id}). Try again when that has ended.`,
        { retryable: true },
      )
  }
}
