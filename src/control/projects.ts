import type { Caller, Control } from '../domain/control.ts'
import { AppError, invalid } from '../domain/error.ts'
import { defaultProject, defaultQuotas, type ProjectQuotas } from '../domain/project.ts'
import type { Store } from '../domain/store.ts'
import { allows, forbidden } from './scopes.ts'

const projectPattern = /^[a-z0-9][a-z0-9-]{0,38}$/

/** Projects with their quotas in memory. `open` makes the default one on first use. */
export class Projects {
  readonly #store: Store
  readonly #quotas: Map<string, ProjectQuotas>

  constructor(store: Store, quotas: Map<string, ProjectQuotas>) {
    this.#store = store
    this.#quotas = quotas
  }

  static async open(store: Store): Promise<Projects> {
    if ((await store.projects.get(defaultProject)) === null)
      await store.projects.create(defaultProject, defaultQuotas, {
        actor: 'system',
        action: 'project.create',
        target: defaultProject,
        detail: {},
      })
    const all = await store.projects.list()
    return new Projects(store, new Map(all.map(({ name, quotas }) => [name, quotas])))
  }

  get api(): Control['projects'] {
    return {
      create: async (caller, name) => {
        demandInstallation(caller)
        if (!projectPattern.test(name)) throw invalid('name', name, '1 to 39 lower-case letters, digits or "-"')
        const project = await this.#store.projects.create(name, defaultQuotas, {
          actor: caller.actor,
          action: 'project.create',
          target: name,
          detail: {},
        })
        this.#quotas.set(project.name, project.quotas)
        return project
      },
      list: async (caller) => {
        demandInstallation(caller)
        return this.#store.projects.list()
      },
    }
  }

  quotasOf(project: string): ProjectQuotas {
    return this.#quotas.get(project) ?? defaultQuotas
  }
}

/** The administrator of the installation is an admin of the default project: makes projects, enters them, sees every function's figures. */
export function isInstallationAdmin(caller: Caller): boolean {
  return caller.project === defaultProject && allows(caller.scopes, 'admin')
}

/** Throws forbidden. */
export function demandInstallation(caller: Caller): void {
  if (!isInstallationAdmin(caller)) throw forbidden('admin')
}

/** Keys of another project are for the administrator of the installation. Throws forbidden, not_found. */
export async function demandProject(store: Store, caller: Caller, project: string): Promise<void> {
  if (project === caller.project) return
  demandInstallation(caller)
  if ((await store.projects.get(project)) === null) throw new AppError('not_found', `There is no project "${project}".`)
}
