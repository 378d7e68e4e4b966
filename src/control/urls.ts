import type { Agent } from '../domain/agent.ts'
import type { Control, FoundUrl } from '../domain/control.ts'
import { invalid, AppError } from '../domain/error.ts'
import { checkCors, type FunctionUrl, type UrlName } from '../domain/function-url.ts'
import { defaultProject } from '../domain/project.ts'
import type { Store } from '../domain/store.ts'
import { demand } from './scopes.ts'
import { demandFunction, type VersionCache } from './versions.ts'

/** Labels looked up that are kept, known and unknown ones. */
const foundMax = 10_000

/** URLs of functions: who may have one, and what a host or path means. */
export class Urls {
  readonly #store: Store
  readonly #versions: VersionCache
  readonly #logs: Agent['logs']
  readonly #found = new Map<string, FunctionUrl | null>()
  /** Raised at each change: a look-up that began before it must not fill the cache with what it read. */
  #epoch = 0

  constructor({ store, versions, agent }: { store: Store; versions: VersionCache; agent: Pick<Agent, 'logs'> }) {
    this.#store = store
    this.#versions = versions
    this.#logs = agent.logs
  }

  /** Functions come and go with their URLs. */
  forget(): void {
    this.#epoch++
    this.#found.clear()
  }

  get api(): Control['urls'] {
    return {
      put: async (caller, functionName, input) => {
        demand(caller, 'functions:write')
        const { auth, mode, qualifier } = input
        const cors = input.cors === null ? null : checkCors(input.cors)
        const { project, actor } = caller
        checkLabel(project, functionName)
        await this.#versions.resolve(project, functionName, qualifier)
        await this.#checkHost(project, functionName)
        const audit = { actor, action: 'url.set', target: functionName, detail: { auth, mode, qualifier } }
        const url = await this.#store.urls.set({ project, functionName, qualifier, auth, mode, cors }, audit)
        this.forget()
        return url
      },
      get: async (caller, functionName) => {
        await demandFunction(this.#store, { caller, scope: 'functions:read', name: functionName })
        const url = await this.#store.urls.get(caller.project, functionName)
        if (url === null) throw new AppError('not_found', `Function "${functionName}" has no URL.`)
        return url
      },
      list: async (caller) => {
        demand(caller, 'functions:read')
        return this.#store.urls.list(caller.project)
      },
      delete: async (caller, functionName) => {
        demand(caller, 'functions:write')
        const { project, actor } = caller
        const audit = { actor, action: 'url.delete', target: functionName, detail: {} }
        await this.#store.urls.delete(project, functionName, audit)
        this.forget()
      },
      find: async (name) => this.#find(name),
      note: ({ project, functionName }, invocation, text) =>
        this.#logs.note(project, functionName, { invocation, text }),
    }
  }

  /** One host, one function: `UP` gets no URL beside that of `up`. One that it has from before stays, and can be changed. */
  async #checkHost(project: string, functionName: string): Promise<void> {
    const { urls } = this.#store
    const other = await urls.find(project, functionName)
    if (other === null || other.functionName === functionName || (await urls.get(project, functionName)) !== null)
      return
    const message = `"${functionName}" cannot have a URL beside "${other.functionName}": their hosts would be one, as hosts have no upper case. Take the other's away first, or give the function another name.`
    throw new AppError('conflict', message)
  }

  async #find(name: UrlName): Promise<FoundUrl | null> {
    const url = await this.#byName(name)
    if (url === null) return null
    const { project, functionName, qualifier } = url
    const version = await this.#versions.resolve(project, functionName, qualifier)
    return { url, contract: version.config.contract }
  }

  async #byName({ label, isHost }: UrlName): Promise<FunctionUrl | null> {
    const key = isHost ? label : `/${label}`
    const known = this.#found.get(key)
    if (known !== undefined) return known
    const epoch = this.#epoch
    const split = label.lastIndexOf('--')
    const [project, name] = split > 0 ? [label.slice(split + 2), label.slice(0, split)] : [defaultProject, label]
    const { urls } = this.#store
    const url = await (isHost ? urls.find(project, name) : urls.get(project, name))
    if (epoch !== this.#epoch) return url
    if (this.#found.size >= foundMax) this.#found.clear()
    this.#found.set(key, url)
    return url
  }
}

/** `a--b` is function `a` of project `b`: no other name may read like that, or one project would answer for another. */
function checkLabel(project: string, functionName: string): void {
  const why = 'Its URL could be taken for that of another project.'
  if (project === defaultProject && functionName.includes('--'))
    throw invalid('name', functionName, 'a function whose name has no "--"', why)
  if (project.includes('--')) throw invalid('project', project, 'a project whose name has no "--"', why)
}
