import type { Agent } from '../domain/agent.ts'
import type { ArtifactStore } from '../domain/artifact.ts'
import type { Clock } from '../domain/clock.ts'
import type { Caller, Control } from '../domain/control.ts'
import { AppError, invalid } from '../domain/error.ts'
import type { Arch } from '../domain/function.ts'
import { namePattern } from '../domain/limits.ts'
import type { Logger } from '../domain/logger.ts'
import { defaultProject, defaultQuotas } from '../domain/project.ts'
import type { RuntimeCatalog } from '../domain/runtime.ts'
import type { Store } from '../domain/store.ts'
import { Admission } from './admission.ts'
import { Functions } from './functions.ts'
import { idSource } from './ids.ts'
import { Invoker } from './invoke.ts'
import { isInstallationAdmin, Keys } from './keys.ts'
import { Metrics } from './metrics.ts'
import { singleNode } from './placement.ts'
import type { ReceiptLog } from './receipts.ts'
import { allows, demand, forbidden } from './scopes.ts'
import { Secrets } from './secrets.ts'
import { Stats } from './stats.ts'
import type { Vault } from './vault.ts'
import { notFound, VersionCache } from './versions.ts'

export interface ControlOptions {
  readonly store: Store
  readonly artifacts: ArtifactStore
  readonly agent: Agent
  readonly runtimes: RuntimeCatalog
  readonly vault: Vault
  readonly receipts: ReceiptLog
  readonly clock: Clock
  readonly logger: Logger
  readonly arch: Arch
  /** Whether any driver of this platform isolates in microVMs. */
  readonly hasVm: boolean
  readonly version: string
}

const projectPattern = /^[a-z0-9][a-z0-9-]{0,38}$/

/** Everything the HTTP API can ask for, over the parts handed in. Makes the default project on first use. */
export async function createControl(options: ControlOptions): Promise<Control> {
  const { store, agent, artifacts, clock, logger, receipts, vault } = options
  const quotas = new Map((await ensureProjects(store)).map((project) => [project.name, project.quotas]))
  const stats = new Stats()
  const versions = new VersionCache(store)
  const keys = new Keys({ store, vault, clock })
  const secrets = new Secrets({ store, vault, agent })
  const admission = new Admission({
    clock,
    quotaOf: (project) => (quotas.get(project) ?? defaultQuotas).concurrencyMax,
  })
  const functions = new Functions({ ...options, versions, admission, stats })
  const newId = idSource(clock)
  const invoker = new Invoker({
    versions,
    admission,
    placement: singleNode(agent),
    stats,
    receipts,
    clock,
    logger,
    newId,
    startedAt: clock.nowMs(),
  })
  const metrics = new Metrics({
    stats,
    agent,
    version: options.version,
    losses: () => receipts.losses().droppedReceipts,
  })
  const stopWatching = agent.watch((event) => {
    if (event.type !== 'cache') admission.nodeChanged()
  })
  let isDraining = false

  const demandFunction = async (caller: Caller, scope: string, name: string): Promise<void> => {
    demand(caller, scope)
    if (!namePattern.test(name) || (await store.functions.get(caller.project, name)) === null) throw notFound(name)
  }

  return {
    authenticate: async (token) => keys.authenticate(token),
    authenticateCached: (token) => keys.cached(token),
    authorizeInvoke(caller, name, qualifier) {
      const needed = `invoke:${name}`
      if (!allows(caller.scopes, needed)) return Promise.reject(forbidden(needed))
      if (versions.cached(caller.project, name, qualifier) !== undefined) return null
      return versions.resolve(caller.project, name, qualifier).then(() => undefined)
    },
    invoke: (request, done) => invoker.invoke(request, done),
    functions: functions.api,
    aliases: {
      async set(caller, functionName, name, version) {
        demand(caller, 'functions:write')
        if (!namePattern.test(name) || /^\d+$/.test(name))
          throw invalid('alias', name, '1 to 64 letters, digits, "-" or "_", not a number')
        const audit = {
          actor: caller.actor,
          action: 'alias.set',
          target: `${functionName}:${name}`,
          detail: { version },
        }
        const alias = await store.aliases.set({ project: caller.project, functionName, name, version }, audit)
        versions.forget(caller.project, functionName)
        return alias
      },
      async list(caller, functionName) {
        await demandFunction(caller, 'functions:read', functionName)
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
      },
    },
    artifacts: {
      async put(caller, source, expect) {
        demand(caller, 'functions:write')
        return artifacts.put(source, expect === null ? {} : { expect })
      },
      async stat(caller, digest) {
        demand(caller, 'functions:write')
        return artifacts.stat(digest)
      },
    },
    async invocation(caller, id) {
      const receipt = invoker.active.get(id)?.view() ?? (await receipts.find(id))
      const needed = receipt === null ? 'functions:read' : `invoke:${receipt.function}`
      if (!allows(caller.scopes, 'functions:read') && !allows(caller.scopes, needed)) throw forbidden('functions:read')
      if (receipt === null || receipt.project !== caller.project)
        throw new AppError('not_found', `There is no invocation "${id}".`)
      return receipt
    },
    async invocations(caller, functionName, limit) {
      await demandFunction(caller, 'functions:read', functionName)
      return receipts.recent(caller.project, functionName, limit)
    },
    async cancel(caller, id) {
      const run = invoker.active.get(id)
      const isOwn = run !== undefined && run.request.caller.project === caller.project
      if (!allows(caller.scopes, isOwn ? `invoke:${run.request.functionName}` : 'functions:write'))
        throw forbidden('functions:write')
      if (isOwn) run.cancel('cancelled by request')
      return isOwn
    },
    logs: {
      async tail(caller, functionName, lines) {
        await demandFunction(caller, 'logs:read', functionName)
        return agent.logs.tail(caller.project, functionName, lines)
      },
      async follow(caller, functionName, settings) {
        await demandFunction(caller, 'logs:read', functionName)
        return agent.logs.follow(caller.project, functionName, settings)
      },
    },
    async runtimes(caller) {
      demand(caller, 'functions:read')
      return options.runtimes.list()
    },
    async nodes(caller) {
      demand(caller, 'nodes:read')
      return [await agent.status()]
    },
    secrets: secrets.api,
    keys: {
      create: async (caller, input) => keys.create(caller, input),
      list: async (caller) => keys.list(caller),
      revoke: async (caller, id) => keys.revoke(caller, id),
    },
    projects: {
      async create(caller, name) {
        if (!isInstallationAdmin(caller)) throw forbidden('admin')
        if (!projectPattern.test(name)) throw invalid('name', name, '1 to 39 lower-case letters, digits or "-"')
        const project = await store.projects.create(name, defaultQuotas, {
          actor: caller.actor,
          action: 'project.create',
          target: name,
          detail: {},
        })
        quotas.set(project.name, project.quotas)
        return project
      },
      async list(caller) {
        if (!isInstallationAdmin(caller)) throw forbidden('admin')
        return store.projects.list()
      },
    },
    async audit(caller, page) {
      demand(caller, 'audit:read')
      return store.audit.list(caller.project, page)
    },
    async metrics(caller) {
      demand(caller, 'metrics:read')
      return metrics.text()
    },
    async ready() {
      if (isDraining) return { ready: false, detail: 'draining' }
      const { ok, detail } = await agent.health()
      return { ready: ok, detail }
    },
    async drain(deadline) {
      isDraining = true
      stopWatching()
      await agent.drain(deadline)
    },
  }
}

async function ensureProjects(store: Store): ReturnType<Store['projects']['list']> {
  if ((await store.projects.get(defaultProject)) === null)
    await store.projects.create(defaultProject, defaultQuotas, {
      actor: 'system',
      action: 'project.create',
      target: defaultProject,
      detail: {},
    })
  return store.projects.list()
}
