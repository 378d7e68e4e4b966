import type { Control } from '../domain/control.ts'
import { invalid } from '../domain/error.ts'
import { namePattern } from '../domain/limits.ts'
import type { Store } from '../domain/store.ts'
import { demand } from './scopes.ts'
import { demandFunction, type VersionCache } from './versions.ts'

interface AliasParts {
  readonly store: Store
  readonly versions: VersionCache
  /** A Version of this function may have lost its last name: what nodes keep for it goes soon, and nobody waits for that. */
  readonly tidySoon: (project: string, functionName: string) => void
}

/** Names for Versions; repointing one touches nothing that runs. */
export function aliasesApi({ store, versions, tidySoon }: AliasParts): Control['aliases'] {
  return {
    async set(caller, functionName, name, version) {
      demand(caller, 'functions:write')
      if (!namePattern.test(name) || /^\d+$/.test(name))
        throw invalid('alias', name, '1 to 64 letters, digits, "-" or "_", not a number')
      const alias = await store.aliases.set(
        { project: caller.project, functionName, name, version },
        { actor: caller.actor, action: 'alias.set', target: `${functionName}:${name}`, detail: { version } },
      )
      versions.forget(caller.project, functionName)
      tidySoon(caller.project, functionName)
      return alias
    },
    async list(caller, functionName) {
      await demandFunction(store, { caller, scope: 'functions:read', name: functionName })
      return store.aliases.list(caller.project, functionName)
    },
    async delete(caller, functionName, name) {
      demand(caller, 'functions:write')
      await store.aliases.delete(caller.project, functionName, name, {
        actor: caller.actor,
        action: 'alias.delete',
        target: `${functionName}:${name}`,
        detail: {},
      })
      versions.forget(caller.project, functionName)
      tidySoon(caller.project, functionName)
    },
  }
}
