import type { Agent } from '../domain/agent.ts'
import type { ArtifactStore } from '../domain/artifact.ts'
import type { Builder } from '../domain/build.ts'
import type { Clock } from '../domain/clock.ts'
import type { Control } from '../domain/control.ts'
import type { IsolationPolicy } from '../domain/driver.ts'
import type { Arch } from '../domain/function.ts'
import { limits } from '../domain/limits.ts'
import type { Logger } from '../domain/logger.ts'
import type { ObjectServer } from '../domain/object-server.ts'
import type { RuntimeCatalog } from '../domain/runtime.ts'
import type { Store } from '../domain/store.ts'
import { Admission } from './admission.ts'
import type { Origins } from '../domain/code-source.ts'
import { aliasesApi } from './aliases.ts'
import { artifactsApi } from './artifacts.ts'
import { Blobs } from './blobs.ts'
import { buildsApi } from './builds.ts'
import { CodeSources } from './code-sources.ts'
import { versionDeletion } from './delete-version.ts'
import { Functions } from './functions.ts'
import { idSource } from './ids.ts'
import { invocationsApi } from './invocations.ts'
import { Invoker } from './invoke.ts'
import { Keys } from './keys.ts'
import { layersApi } from './layers.ts'
import { Metrics } from './metrics.ts'
import { OutsideSecrets } from './outside-secrets.ts'
import { singleNode } from './placement.ts'
import { Preparations } from './preparations.ts'
import { Projects } from './projects.ts'
import type { ReceiptLog } from './receipts.ts'
import { allows, demand, forbidden } from './scopes.ts'
import { Secrets, secretSource } from './secrets.ts'
import { Stats } from './stats.ts'
import { storageApi } from './storage.ts'
import { deleted, untilDeleted } from './until-deleted.ts'
import { Urls } from './urls.ts'
import type { Vault } from './vault.ts'
import { demandFunction, VersionCache } from './versions.ts'

export interface ControlOptions {
  readonly store: Store
  readonly artifacts: ArtifactStore
  readonly agent: Agent
  readonly runtimes: RuntimeCatalog
  readonly vault: Vault
  readonly origins: Origins
  /** Where the objects of `s3://` are; null = in the platform's own buckets. */
  readonly objects: ObjectServer | null
  readonly receipts: ReceiptLog
  readonly clock: Clock
  readonly logger: Logger
  readonly arch: Arch
  readonly isolation?: IsolationPolicy
  readonly version: string
  /** Absent where nothing can be built. */
  readonly builder?: Builder
  /** Longest reply that is passed on as it comes; default: `limits.streamMib`. */
  readonly streamReplyMib?: number
}

/** Everything the HTTP API can ask for, over the parts handed in. Makes the default project on first use. */
export async function createControl(options: ControlOptions): Promise<Control> {
  const { store, agent, clock, receipts, vault } = options
  const projects = await Projects.open(store)
  const stats = new Stats()
  const versions = new VersionCache(store)
  const keys = new Keys({ store, vault, clock })
  const admission = new Admission({ clock, quotaOf: (project) => projects.quotasOf(project).concurrencyMax })
  const placement = singleNode(agent)
  const preparations = new Preparations({ agent, logger: options.logger })
  const blobs = new Blobs(options)
  const source = secretSource({ store, vault })
  const secrets = new OutsideSecrets(source)
  const sources = new CodeSources({ ...options, blobs, secrets })
  const deploying = { versions, admission, stats, preparations, sources, blobs, projects, secrets: source }
  const functions = new Functions({ ...options, ...deploying })
  const urls = new Urls({ store, versions, agent })
  await functions.resume()
  const newId = idSource()
  const invoker = new Invoker({
    ...options,
    ...{ versions, admission, placement, stats, preparations },
    newId,
    startedAt: clock.nowMs(),
    streamBytesMax: (options.streamReplyMib ?? limits.streamMib.default) * 2 ** 20,
  })
  const losses = (): number => receipts.losses().droppedReceipts
  const metrics = new Metrics({ stats, agent, version: options.version, losses })

  return {
    authenticate: async (token) => keys.authenticate(token),
    authenticateCached: (token) => keys.cached(token),
    authenticateSigned: async (proof) => keys.authenticateSigned(proof),
    authorizeInvoke(caller, name, qualifier) {
      const needed = `invoke:${name}`
      if (!allows(caller.scopes, needed)) return Promise.reject(forbidden(needed))
      if (versions.cached(caller.project, name, qualifier) !== undefined) return null
      return versions.resolve(caller.project, name, qualifier).then(() => undefined)
    },
    newInvocationId: () => newId(clock.nowMs()),
    invoke: (request, done) => invoker.invoke(request, done),
    ...invocationsApi({ store, invoker, receipts }),
    functions: {
      ...functions.api,
      ...versionDeletion({ ...options, versions, blobs, invoker, functions }),
      async delete(caller, name) {
        await functions.api.delete(caller, name)
        urls.forget()
      },
    },
    aliases: aliasesApi({ store, versions, tidySoon: (project, name) => functions.tidySoon(project, name) }),
    urls: urls.api,
    secrets: new Secrets({ store, vault, agent, source }).api,
    keys: keys.api,
    projects: projects.api(admission),
    layers: layersApi({ ...options, blobs, sources }),
    builds: buildsApi({ ...options, blobs }),
    storage: storageApi({ ...options, blobs, secrets }),
    artifacts: artifactsApi({ ...options, blobs }),
    ...nodeViews(options),
    async audit(caller, page) {
      demand(caller, 'audit:read')
      return store.audit.list(caller.project, page)
    },
    metrics: async (caller) => metrics.text(caller),
    ...lifecycle({ agent, admission, preparations, blobs }),
  }
}

/** What logs, runtimes and nodes have: other parts know it all, here is who may ask. */
function nodeViews({ agent, runtimes, store }: ControlOptions): Pick<Control, 'logs' | 'runtimes' | 'nodes'> {
  return {
    logs: {
      async tail(caller, name, lines) {
        await demandFunction(store, { caller, scope: 'logs:read', name })
        return agent.logs.tail(caller.project, name, lines)
      },
      async follow(caller, name, settings) {
        const { createdAt } = await demandFunction(store, { caller, scope: 'logs:read', name })
        const log = String(createdAt)
        if (settings.log !== undefined && settings.log !== log) throw deleted(name)
        const lines = agent.logs.follow(caller.project, name, settings)
        return { log, lines: untilDeleted(name, { lines, signal: settings.signal }) }
      },
    },
    async runtimes(caller) {
      demand(caller, 'functions:read')
      return { items: runtimes.list(), others: runtimes.others() }
    },
    async nodes(caller) {
      demand(caller, 'nodes:read')
      return [await agent.status()]
    },
  }
}

function lifecycle({
  agent,
  admission,
  preparations,
  blobs,
}: {
  agent: Agent
  admission: Admission
  preparations: Preparations
  blobs: Blobs
}): Pick<Control, 'ready' | 'tidy' | 'drain'> {
  let isDraining = false
  const stopWatching = agent.watch((event) => {
    if (event.type === 'instance' || event.type === 'capacity') admission.nodeChanged()
  })
  return {
    async ready() {
      if (isDraining) return { ready: false, detail: 'draining' }
      const { ok, detail } = await agent.health()
      return { ready: ok, detail }
    },
    tidy: async () => blobs.sweep(),
    async drain(deadline) {
      isDraining = true
      preparations.stop()
      await Promise.all([agent.drain(deadline), blobs.stop()])
      stopWatching()
    },
  }
}
