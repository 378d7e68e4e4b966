import type { Agent, SecretSource } from '../domain/agent.ts'
import type { ArtifactStore } from '../domain/artifact.ts'
import type { Clock } from '../domain/clock.ts'
import type { SourceKind } from '../domain/code-source.ts'
import type { Caller, Control, CreateFunction, DeployOptions, FunctionView, UpdateFunction } from '../domain/control.ts'
import { defaultIsolation, type IsolationPolicy } from '../domain/driver.ts'
import { AppError, invalid } from '../domain/error.ts'
import type { Arch, DeployedVersion, FunctionConfig, FunctionRecord, Version } from '../domain/function.ts'
import type { Logger } from '../domain/logger.ts'
import { namePattern } from '../domain/limits.ts'
import type { RuntimeCatalog } from '../domain/runtime.ts'
import type { FunctionWithVersion, NewVersion, PageRequest, Store } from '../domain/store.ts'
import { Turns } from '../domain/turns.ts'
import type { Admission } from './admission.ts'
import type { Blobs } from './blobs.ts'
import { summaryOf, withDraft } from './draft.ts'
import type { CodeSources, PinnedCode } from './code-sources.ts'
import { parseConfig, type ConfigContext } from './function-config.ts'
import { activeBefore, forgetLeft, forgetUnnamed } from './kept-files.ts'
import type { Preparations } from './preparations.ts'
import type { Projects } from './projects.ts'
import { demand } from './scopes.ts'
import type { Stats } from './stats.ts'
import { notFound, noVersion, type VersionCache } from './versions.ts'

export interface FunctionsOptions {
  readonly store: Store
  readonly artifacts: ArtifactStore
  readonly agent: Agent
  readonly runtimes: RuntimeCatalog
  readonly versions: VersionCache
  readonly admission: Admission
  readonly preparations: Preparations
  readonly sources: CodeSources
  readonly blobs: Blobs
  readonly secrets: SecretSource
  readonly stats: Stats
  readonly projects: Pick<Projects, 'whyFull'>
  readonly clock: Clock
  readonly logger: Logger
  readonly arch: Arch
  readonly isolation?: IsolationPolicy
}

const waiting: DeployOptions = { wait: true, mustLoad: null }

/** What of a configuration says which program runs, and how. */
const programFields = ['runtime', 'contract', 'handler', 'command', 'port', 'layers'] as const

interface UpdatePinned {
  readonly name: string
  readonly input: Partial<FunctionConfig>
  /** Null: that of the Version before. */
  readonly code: PinnedCode | null
}

/** Deploying: what a user declared becomes an immutable Version that this node can run, or nothing changes. */
export class Functions {
  readonly #options: FunctionsOptions
  readonly #turns = new Turns()

  constructor(options: FunctionsOptions) {
    this.#options = options
  }

  get api(): Omit<Control['functions'], 'deleteVersion'> {
    return {
      create: async (caller, input, options = waiting) => this.#create(caller, input, options),
      update: async (caller, name, input, options = waiting) => this.#update(caller, name, input, options),
      get: async (caller, name) => this.#get(caller, name),
      list: async (caller, page) => this.#list(caller, page),
      delete: async (caller, name) => this.#delete(caller, name),
      versions: async (caller, name, page) => this.#versionsOf(caller, name, page),
      rollback: async (caller, name, to) => this.#rollback(caller, name, to),
    }
  }

  /** Takes up what a platform before this one accepted and did not finish, or removed and did not clean up after. */
  async resume(): Promise<void> {
    const { preparations, store } = this.#options
    for (const { version, mustLoad } of await store.functions.pending())
      preparations.begin(version, { mustLoad }, this.#settle)
    void forgetLeft(this.#options, async (project, name, work) => this.inTurn(project, name, work))
  }

  /** What nodes keep of Versions that nobody names any more goes when the deploy that may be under way is over: not what that has just made. */
  tidySoon(project: string, name: string): void {
    this.inTurn(project, name, async () => forgetUnnamed(this.#options, { project, name })).catch((error: unknown) => {
      this.#options.logger.warn('functions.tidy.failed', { project, function: name, error: String(error) })
    })
  }

  async #create(
    caller: Caller,
    { name, code, config: input }: CreateFunction,
    options: DeployOptions,
  ): Promise<FunctionView> {
    demand(caller, 'functions:write')
    if (!namePattern.test(name)) throw invalid('name', name, '1 to 64 letters, digits, "-" or "_"')
    // Before anything is fetched, and outside the turn: it may take minutes, and a delete or a rollback is not to wait for it.
    const { projects, sources } = this.#options
    const [, full] = await Promise.all([
      this.#refuseTaken(caller.project, name),
      projects.whyFull(caller.project, name),
    ])
    if (full !== null) throw full
    const config = parseConfig(input, null, await this.#context(caller, input.isolation))
    return sources.using(caller, { source: code, kind: kindOf(config) }, async (pinned) =>
      this.inTurn(caller.project, name, async () =>
        this.#createPinned(caller, { name, config, code: pinned }, options),
      ),
    )
  }

  async #createPinned(
    caller: Caller,
    { name, config, code }: { name: string; config: FunctionConfig; code: PinnedCode },
    { wait, mustLoad: wanted }: DeployOptions,
  ): Promise<FunctionView> {
    const { store, agent } = this.#options
    const mustLoad = wanted ?? this.#isProgram(config)
    await this.#refuseTaken(caller.project, name)
    const work = async (draft: NewVersion): Promise<FunctionView> => {
      const audit = { actor: caller.actor, action: 'function.create', target: name, detail: summaryOf(draft) }
      if (!wait) return this.#accepted(await store.functions.create(draft, audit, { mustLoad }), mustLoad)
      const { record, version } = await this.#deployed(draft, { number: 1, mustLoad }, () =>
        store.functions.create(draft, audit),
      ).catch(async (error: unknown) => {
        // What it printed while it failed to load belongs to no function.
        await agent.logs.delete(caller.project, name)
        throw error
      })
      this.#options.versions.forget(caller.project, name)
      return this.#view(record, version)
    }
    return withDraft(this.#options, caller, { input: { name, config, code, baseLayers: [] }, work })
  }

  async #refuseTaken(project: string, name: string): Promise<void> {
    if ((await this.#options.store.functions.get(project, name)) !== null)
      throw new AppError('conflict', `Function "${name}" exists already. Use update to change it.`)
  }

  async #update(
    caller: Caller,
    name: string,
    { code, config: input = {} }: UpdateFunction,
    options: DeployOptions,
  ): Promise<FunctionView> {
    demand(caller, 'functions:write')
    if (code === undefined && Object.values(input).every((value) => value === undefined))
      throw invalid('body', {}, 'an object with code or at least one setting')
    if (code === undefined)
      return this.inTurn(caller.project, name, async () =>
        this.#updatePinned(caller, { name, input, code: null }, options),
      )
    // As in create: what can be refused at once is, and the rest of the function waits for nobody's origin.
    const config = await this.#merged(caller, input, await this.#newest(await this.#current(caller.project, name)))
    return this.#options.sources.using(caller, { source: code, kind: kindOf(config) }, async (pinned) =>
      this.inTurn(caller.project, name, async () => this.#updatePinned(caller, { name, input, code: pinned }, options)),
    )
  }

  async #updatePinned(
    caller: Caller,
    { name, input, code }: UpdatePinned,
    { wait, mustLoad: wanted }: DeployOptions,
  ): Promise<FunctionView> {
    const { store } = this.#options
    const current = await this.#current(caller.project, name)
    const base = await this.#newest(current)
    const config = await this.#merged(caller, input, base)
    const kept = { digest: base.codeDigest, origin: base.codeOrigin }
    const declared = { name, config, code: code ?? kept, baseLayers: base.layers }
    const isOther = code !== null || programFields.some((field) => input[field] !== undefined)
    const mustLoad = wanted ?? (this.#isProgram(config) && isOther)
    const work = async (draft: NewVersion): Promise<FunctionView> => {
      const audit = { actor: caller.actor, action: 'function.update', target: name, detail: summaryOf(draft) }
      if (!wait) return this.#accepted(await store.functions.accept(draft, audit, { mustLoad }), mustLoad)
      const number = current.record.versionCount + 1
      const { record, version } = await this.#deployed(draft, { number, mustLoad }, () =>
        store.functions.publish(draft, audit, current.record.latest),
      )
      await this.#repointed(caller.project, name, current.version.number)
      return this.#view(record, version)
    }
    return withDraft(this.#options, caller, { input: declared, work })
  }

  /** Whether it works shows only when it is started: it is no handler that a runtime of the platform's could be asked for. */
  #isProgram({ runtime, contract }: FunctionConfig): boolean {
    const { family, isBridged } = this.#options.runtimes.resolve(runtime, contract)
    return family === 'provided' || isBridged
  }

  async #merged(caller: Caller, input: Partial<FunctionConfig>, { config }: Version): Promise<FunctionConfig> {
    return parseConfig(input, config, await this.#context(caller, input.isolation ?? config.isolation))
  }

  /** What an update builds on: a Version that is on its way counts already, else its changes would be lost. */
  async #newest({ record, version }: FunctionWithVersion): Promise<Version> {
    const { update, project, name } = record
    if (update?.state !== 'pending') return version
    return (await this.#options.store.functions.version(project, name, update.version)) ?? version
  }

  /** The Version is on disk: it is prepared from here on, and the function shows as it is now. */
  async #accepted({ record, version }: FunctionWithVersion, mustLoad: boolean): Promise<FunctionView> {
    const { preparations, versions } = this.#options
    preparations.begin(version, { mustLoad }, this.#settle)
    versions.forget(record.project, record.name)
    const current = await this.#current(record.project, record.name)
    return this.#view(current.record, current.version)
  }

  readonly #settle = async (version: Version, failure: string | null): Promise<void> => {
    const { project, functionName: name, number } = version
    await this.inTurn(project, name, async () => {
      const { agent, preparations, store, versions } = this.#options
      if (!preparations.isWanted(version)) return
      if (failure !== null) await agent.forget(version)
      const { record: before } = await this.#current(project, name)
      const action = failure === null ? 'version.active' : 'version.failed'
      const audit = {
        actor: 'platform',
        action,
        target: `${name}:${number}`,
        detail: failure === null ? {} : { failure },
      }
      const after = await store.functions.settle({ project, name, number }, failure, audit)
      if (after.latest !== before.latest) await this.#repointed(project, name, before.latest)
      else versions.forget(project, name)
    })
  }

  async #rollback(caller: Caller, name: string, to: number | null): Promise<FunctionView> {
    demand(caller, 'functions:write')
    return this.inTurn(caller.project, name, async () => {
      const { record } = await this.#current(caller.project, name)
      const target = to ?? (await activeBefore(this.#options.store, record))
      if (target === null) throw new AppError('conflict', `Function "${name}" has no version before ${record.latest}.`)
      if ((await this.#options.store.functions.version(caller.project, name, target)) === null)
        throw noVersion(name, String(target))
      await this.#options.store.functions.setLatest(caller.project, name, target, {
        actor: caller.actor,
        action: 'function.rollback',
        target: name,
        detail: { from: record.latest, to: target },
      })
      await this.#repointed(caller.project, name, record.latest)
      return this.#get(caller, name, 'functions:write')
    })
  }

  async #get(caller: Caller, name: string, scope = 'functions:read'): Promise<FunctionView> {
    demand(caller, scope)
    const { record, version } = await this.#current(caller.project, name)
    return this.#view(record, version)
  }

  async #list(caller: Caller, page: PageRequest): ReturnType<Control['functions']['list']> {
    demand(caller, 'functions:read')
    const { items, nextCursor } = await this.#options.store.functions.list(caller.project, page)
    return { items: items.map(({ record, version }) => this.#view(record, version)), nextCursor }
  }

  async #versionsOf(caller: Caller, name: string, page: PageRequest): ReturnType<Control['functions']['versions']> {
    demand(caller, 'functions:read')
    await this.#current(caller.project, name)
    return this.#options.store.functions.versions(caller.project, name, page)
  }

  async #delete(caller: Caller, name: string): Promise<void> {
    demand(caller, 'functions:write')
    const { project } = caller
    return this.inTurn(project, name, async () => {
      await this.#current(project, name)
      const { store, agent, versions, stats, admission, preparations, blobs } = this.#options
      const digests = await store.functions.delete(project, name, {
        actor: caller.actor,
        action: 'function.delete',
        target: name,
        detail: {},
      })
      preparations.abandon(project, name)
      versions.forget(project, name)
      admission.remove({ project, name })
      stats.forget(project, name)
      await agent.remove({ project, functionName: name })
      blobs.releaseSoon(digests)
      await forgetUnnamed(this.#options, { project, name })
      await agent.logs.delete(project, name)
    })
  }

  /** Makes the Version invocable, then stores it; of one that fails in between this node keeps nothing. */
  async #deployed(
    draft: NewVersion,
    { number, mustLoad }: { number: number; mustLoad: boolean },
    commit: () => Promise<FunctionWithVersion>,
  ): Promise<FunctionWithVersion> {
    const { agent, clock } = this.#options
    try {
      await agent.deploy({ ...draft, number, createdAt: clock.nowMs() }, { mustLoad })
      return await commit()
    } catch (error) {
      const { project, functionName } = draft
      await agent.forget({ project, functionName, number })
      throw error
    }
  }

  /** `$LATEST` means another Version now: nothing running is touched, idle Instances of the old one go unless an alias still names it. */
  async #repointed(project: string, name: string, from: number): Promise<void> {
    const { versions, store, agent } = this.#options
    versions.forget(project, name)
    const aliases = await store.aliases.list(project, name)
    if (!aliases.some((alias) => alias.version === from))
      await agent.evict({ project, functionName: name, version: from })
    await forgetUnnamed(this.#options, { project, name })
  }

  async #current(project: string, name: string): Promise<FunctionWithVersion> {
    const found = namePattern.test(name) ? await this.#options.store.functions.get(project, name) : null
    if (found === null) throw notFound(name)
    return found
  }

  #view(record: FunctionRecord, version: DeployedVersion): FunctionView {
    return { record, version, stats: this.#options.stats.view(record.project, record.name) }
  }

  async #context(caller: Caller, isolation: string | undefined): Promise<ConfigContext> {
    const { drivers } = await this.#options.agent.status({ mustProbe: isolation === 'vm' })
    const vms = drivers.filter(({ isVm }) => isVm)
    const vmDetail = vms.map(({ name, detail }) => `${name}: ${detail}`).join('\n')
    const { arch, isolation: policy = defaultIsolation } = this.#options
    return { caller, arch, hasVm: vms.some(({ works }) => works), vmDetail, demand: policy.demand }
  }

  /** Mutations of one function happen one after the other. */
  async inTurn<T>(project: string, name: string, work: () => Promise<T>): Promise<T> {
    return this.#turns.run(`${project}/${name}`, work)
  }
}

function kindOf({ runtime }: FunctionConfig): SourceKind {
  return runtime === 'image' ? 'image' : 'code'
}
