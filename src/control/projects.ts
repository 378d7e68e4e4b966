import type { Caller, Control, ProjectView } from '../domain/control.ts'
import { AppError, invalid } from '../domain/error.ts'
import { limits } from '../domain/limits.ts'
import { defaultProject, defaultQuotas, functionsFull, type Project, type ProjectQuotas } from '../domain/project.ts'
import type { Store } from '../domain/store.ts'
import type { Admission } from './admission.ts'
import { inRange } from './in-range.ts'
import { allows, demand, forbidden } from './scopes.ts'

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
        detail: { ...defaultQuotas },
      })
    const all = await store.projects.list()
    return new Projects(store, new Map(all.map(({ name, quotas }) => [name, quotas])))
  }

  api(admission: Admission): Control['projects'] {
    return {
      create: async (caller, name, quotas = {}) => {
        demandInstallation(caller)
        if (!projectPattern.test(name)) throw invalid('name', name, '1 to 39 lower-case letters, digits or "-"')
        const whole = { ...defaultQuotas, ...checkQuotas(quotas) }
        const audit = { actor: caller.actor, action: 'project.create', target: name, detail: { ...whole } }
        const project = await this.#store.projects.create(name, whole, audit)
        this.#quotas.set(project.name, project.quotas)
        return project
      },
      update: async (caller, name, quotas) => {
        demandInstallation(caller)
        const changed = checkQuotas(quotas)
        if (Object.keys(changed).length === 0)
          throw invalid('quotas', quotas, 'at least one of functionsMax, concurrencyMax')
        await demandProject(this.#store, caller, name)
        const audit = { actor: caller.actor, action: 'project.update', target: name, detail: { ...changed } }
        const project = await this.#store.projects.update(name, changed, audit)
        this.#quotas.set(project.name, project.quotas)
        admission.quotaChanged(project.name)
        return this.#view(project, admission)
      },
      get: async (caller, name) => {
        demand(caller, 'admin')
        await demandProject(this.#store, caller, name)
        const project = await this.#store.projects.get(name)
        if (project === null) throw noProject(name)
        return this.#view(project, admission)
      },
      list: async (caller) => {
        demandInstallation(caller)
        return this.#store.projects.list()
      },
    }
  }

  /** Why the project takes no function more; null = it does. Of two creates at a time both may hear that: the store decides. */
  async whyFull(project: string, functionName: string): Promise<AppError | null> {
    const { functionsMax } = this.quotasOf(project)
    const isFull = (await this.#store.projects.functionCount(project)) >= functionsMax
    return isFull ? functionsFull(project, functionName, functionsMax) : null
  }

  quotasOf(project: string): ProjectQuotas {
    return this.#quotas.get(project) ?? defaultQuotas
  }

  async #view(project: Project, admission: Admission): Promise<ProjectView> {
    const functions = await this.#store.projects.functionCount(project.name)
    return { ...project, usage: { functions, ...admission.usageOf(project.name) } }
  }
}

/** Those that are given, in range. */
function checkQuotas(quotas: Partial<ProjectQuotas>): Partial<ProjectQuotas> {
  const { functionsMax, concurrencyMax } = quotas
  const check = (name: keyof ProjectQuotas, value: number): number =>
    inRange(`quotas.${name}`, value, limits.project[name])
  return {
    ...(functionsMax !== undefined && { functionsMax: check('functionsMax', functionsMax) }),
    ...(concurrencyMax !== undefined && { concurrencyMax: check('concurrencyMax', concurrencyMax) }),
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
  if ((await store.projects.get(project)) === null) throw noProject(project)
}

function noProject(name: string): AppError {
  return new AppError('not_found', `There is no project "${name}".`)
}
