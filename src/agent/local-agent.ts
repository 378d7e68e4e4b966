import type {
  Agent,
  AgentEvent,
  AgentStatus,
  ExecuteCall,
  ExecuteRequest,
  ExecuteUp,
  OutcomeSink,
} from '../domain/agent.ts'
import type { Digest } from '../domain/artifact.ts'
import { systemClock, type Clock } from '../domain/clock.ts'
import { defaultIsolation } from '../domain/driver.ts'
import { versionKey, type Version, type VersionRef } from '../domain/function.ts'
import type { InstanceInfo } from '../domain/instance.ts'
import type { Logger } from '../domain/logger.ts'
import { Adoptions } from './adoptions.ts'
import { Alarm } from './alarm.ts'
import { bootContextOf } from './boot-context.ts'
import { CodeCache } from './code-cache.ts'
import { CodeUsers } from './code-users.ts'
import type { Trees } from './code-trees.ts'
import type { ExecutionHost, Fate } from './execution-host.ts'
import { Execution } from './execution.ts'
import type { Instance } from './instance.ts'
import { FunctionLogs } from './logs/function-logs.ts'
import { forgetVersion, keptVersions, type Keepers } from './kept-versions.ts'
import { loadOnce } from './load-once.ts'
import type { LocalAgentOptions } from './local-agent-options.ts'
import { MemoryBudget } from './memory-budget.ts'
import { prepareVersion } from './prepare-version.ts'
import { Sources } from './sources.ts'
import { Start, type StartHooks } from './start.ts'
import { StartGate } from './start-gate.ts'
import { UsageSampler } from './usage-sampler.ts'
import type { GroupHost } from './group-host.ts'
import { VersionGroups, type EvictFilter } from './version-groups.ts'

const drainPollMs = 20

/** The Agent of the machine it runs on: sole authority on its Instances, memory and logs. */
export function createLocalAgent(options: LocalAgentOptions): Agent {
  return new LocalAgent(options)
}

class LocalAgent implements Agent, ExecutionHost, GroupHost {
  readonly node: string
  readonly arch: string
  readonly clock: Clock
  readonly logger: Logger
  readonly outcomes: OutcomeSink
  readonly logs: Agent['logs']
  isDraining = false
  readonly #options: LocalAgentOptions
  readonly #functionLogs: FunctionLogs
  readonly #budget: MemoryBudget
  readonly #users = new CodeUsers((digest) => this.#emit({ type: 'unused', digest }))
  readonly #code: CodeCache
  readonly #sources: Sources
  readonly #groups: VersionGroups
  readonly #executions = new Map<string, Execution>()
  readonly #watchers = new Set<(event: AgentEvent) => void>()
  readonly #deadlines: Alarm
  readonly #sweeps: Alarm
  readonly #gate: StartGate
  readonly sampler: UsageSampler
  readonly #adoptions: Adoptions
  #isClosed = false

  constructor(options: LocalAgentOptions) {
    this.#options = options
    this.clock = options.clock ?? systemClock
    this.logger = options.logger
    this.node = options.node
    this.arch = options.arch
    this.outcomes = options.outcomes
    this.#functionLogs = new FunctionLogs(options.folders.logs, { clock: this.clock, logger: this.logger })
    this.logs = this.#functionLogs.service
    this.#budget = new MemoryBudget(options.memoryMib, (freeMib) => this.#emit({ type: 'capacity', freeMib }))
    this.#code = new CodeCache({
      artifacts: options.artifacts,
      users: this.#users,
      imageOf: (version, trees) => this.#codeImage(version, trees),
    })
    this.#deadlines = new Alarm(this.clock, (nowMs) => this.#expire(nowMs))
    this.#sweeps = new Alarm(this.clock, (nowMs) => this.#groups.sweep(nowMs))
    this.#groups = new VersionGroups(this, {
      logs: this.#functionLogs,
      forgotten: (version) => {
        this.#code.forget(version)
        this.#sources.rest(version)
      },
    })
    const boot = bootContextOf(options, this.clock)
    this.#sources = new Sources({
      boot,
      ...{ drivers: options.drivers, runtimes: options.runtimes, names: options.names, budget: this.#budget },
      ...{ poolSize: options.poolSize, vmPoolSize: options.vmPoolSize, clock: this.clock, logger: this.logger },
      ...{ vmFunctionPoolSize: options.vmFunctionPoolSize, vmPrespawn: options.vmPrespawn },
      ...{ isolation: options.isolation ?? defaultIsolation, snapshotsFolder: options.folders.snapshots },
      isStarting: () => this.#groups.isStarting(),
      code: (version) => this.#code.get(version),
    })
    this.#gate = new StartGate({ clock: this.clock })
    this.sampler = new UsageSampler(this.clock, () => this.#groups.instances())
    this.#adoptions = new Adoptions({
      ...{ survivors: options.survivors ?? null, boot, secrets: options.secrets, names: options.names },
      placeOf: (version) => this.#sources.placeOf(version),
      code: (version) => this.#code.get(version),
      users: this.#users,
      budget: this.#budget,
      groupOf: (version) => this.#groups.of(version),
    })
  }

  async register(): Promise<AgentStatus> {
    await this.#adoptions.begin()
    await this.#sources.open()
    this.#adoptions.opened()
    await this.#adoptions.settledSoon()
    return this.#statusNow()
  }

  async deploy(version: Version, options: Parameters<Agent['deploy']>[1] = {}): Promise<void> {
    await this.#users.during(version, async () => {
      const { artifacts, names } = this.#options
      await prepareVersion(version, options, {
        ...{ artifacts, names, code: this.#code, sources: this.#sources, clock: this.clock, logger: this.logger },
        imageOf: (trees) => this.#codeImage(version, trees),
        onUnpacked: () => this.#emit({ type: 'cache', digest: version.codeDigest, present: true }),
      })
      if (options.mustLoad === true)
        await loadOnce(version, this, this.#functionLogs.of(version.project, version.functionName))
    })
  }

  async prepare(version: Version, { min, until }: { min: number; until: number }): Promise<void> {
    this.#groups.of(version).prepare(min, this.clock.monotonicMs() + until - this.clock.nowMs())
  }

  execute(request: ExecuteRequest, receive: (frame: ExecuteUp) => void): ExecuteCall {
    const group = this.#groups.of(request.version)
    const execution = new Execution(this, { request, log: group.log, receive })
    this.#executions.set(request.invocationId, execution)
    const { owner } = group
    if (request.ownerEpoch < owner.epoch) this.#refuseStale(execution, owner.epoch)
    else if (this.isDraining)
      execution.refuse({ code: 'draining', message: `Node ${this.node} is draining.`, retryAfterMs: 1_000 })
    else if (execution.dueMs <= execution.arrivedMs) execution.onDeadline()
    else {
      owner.epoch = request.ownerEpoch
      this.#deadlines.at(execution.dueMs)
      this.sampler.wake()
      group.take(execution)
    }
    return execution
  }

  async cancel(invocationId: string, reason: string): Promise<boolean> {
    const execution = this.#executions.get(invocationId)
    execution?.cancel(reason)
    return execution !== undefined
  }

  async get(invocationId: string): Promise<{ state: 'starting' | 'running'; instance: string | null } | null> {
    const execution = this.#executions.get(invocationId)
    if (execution === undefined) return null
    const isRunning = execution.state === 'running' || execution.state === 'ending'
    return { state: isRunning ? 'running' : 'starting', instance: execution.instance?.id ?? null }
  }

  async list(): Promise<readonly InstanceInfo[]> {
    return [...this.#sources.pools.ready(), ...this.#groups.instances()].map((instance) => instance.info())
  }

  async attach(...[invocationId, fromOffset, receive]: Parameters<Agent['attach']>): ReturnType<Agent['attach']> {
    return this.#executions.get(invocationId)?.attach(fromOffset, receive) ?? null
  }

  async evict(filter: EvictFilter): Promise<number> {
    return this.#adoptions.evict(filter) + this.#groups.evict(filter)
  }

  async remove(of: { project: string; functionName: string }): Promise<void> {
    this.#adoptions.evict(of)
    this.#groups.close(of)
  }

  async kept(of?: Parameters<Agent['kept']>[0]): Promise<readonly VersionRef[]> {
    return keptVersions(this.#keepers, of)
  }

  async forget(version: VersionRef): Promise<void> {
    this.#code.forget(version)
    await forgetVersion(this.#keepers, version)
  }

  async uses(digest: Digest): Promise<boolean> {
    return this.#users.has(digest)
  }

  async drain(deadline: number): Promise<void> {
    this.isDraining = true
    this.#sources.pools.stop()
    while (this.#executions.size > 0 && this.clock.nowMs() < deadline)
      await new Promise<void>((resolve) => void this.clock.schedule(drainPollMs, resolve))
    for (const execution of this.#executions.values()) execution.cancel('the node is shutting down')
    for (const group of this.#groups.all()) group.retire()
    await this.#groups.left()
    await this.#functionLogs.flush()
  }

  async health(): Promise<{ ok: boolean; detail: string }> {
    const trouble = this.#isClosed ? 'The agent is closed.' : this.#sources.drivers.trouble
    if (trouble !== null) return { ok: false, detail: trouble }
    return { ok: true, detail: this.isDraining ? 'draining' : 'ready' }
  }

  async machines(): ReturnType<Agent['machines']> {
    return this.#sources.drivers.machines()
  }

  async status({ mustProbe = false }: { mustProbe?: boolean } = {}): Promise<AgentStatus> {
    if (mustProbe) await this.#sources.drivers.probeAll()
    return this.#statusNow()
  }

  #statusNow(): AgentStatus {
    const states = { booted: 0, ready: 0, busy: 0, frozen: 0 }
    states.booted = this.#sources.pools.ready().length
    for (const { state } of this.#groups.instances())
      if (state === 'ready' || state === 'busy' || state === 'frozen') states[state]++
    return {
      node: this.node,
      arch: this.arch,
      draining: this.isDraining,
      memoryMib: this.#budget.totalMib,
      freeMib: this.#budget.freeMib,
      drivers: this.#sources.drivers.status(),
      runtimes: this.#options.runtimes.list(),
      instances: states,
    }
  }

  watch(receive: (event: AgentEvent) => void): () => void {
    this.#watchers.add(receive)
    return () => void this.#watchers.delete(receive)
  }

  async close(): Promise<void> {
    this.isDraining = true
    this.#isClosed = true
    for (const each of [this.#adoptions, this.#deadlines, this.#sweeps]) each.stop()
    for (const execution of [...this.#executions.values()])
      execution.refuse({ code: 'draining', message: `Node ${this.node} is closing.`, retryAfterMs: 1_000 })
    await Promise.all([...this.#groups.instances()].map((instance) => instance.kill()))
    await this.#sources.close()
    await this.#adoptions.settled()
    await this.#functionLogs.flush()
  }

  // What executions and groups ask of the agent.

  onFinished(execution: Execution, fate: Fate): void {
    this.#executions.delete(execution.request.invocationId)
    this.#groups.of(execution.request.version).finished(execution, fate)
  }

  reserve(version: Version): boolean {
    const { config, runtimeDigest } = version
    const { pools } = this.#sources
    // What waits goes first, for it is the cheapest to make again; then what leaves anyway.
    while (!this.#budget.tryTake(config.memoryMib)) {
      if (pools.shrink(runtimeDigest) || pools.spares.shrink(null)) continue
      if (!this.#groups.hurryOne() && !this.#groups.evictOldest(version)) return false
    }
    return true
  }

  release(mib: number): void {
    this.#budget.give(mib)
  }

  charge(mib: number): void {
    this.#budget.take(mib)
  }

  makeStart(version: Version, hooks: StartHooks): Start {
    return new Start({
      ...hooks,
      version,
      log: this.#functionLogs.of(version.project, version.functionName),
      pool: this.#sources.poolOf(version),
      gate: this.#gate,
      clock: this.clock,
      logger: this.logger,
      secrets: this.#options.secrets,
      names: this.#options.names,
      users: this.#users,
      code: () => this.#code.get(version),
    })
  }

  onInstanceChanged(instance: Instance): void {
    if (this.#watchers.size > 0) this.#emit({ type: 'instance', instance: instance.info() })
  }

  onLoaded(instance: Instance): void {
    this.#adoptions.loaded(instance)
  }

  sweepAt(dueMs: number): void {
    this.#sweeps.at(dueMs)
  }

  onStartOver(): void {
    this.#sources.pools.refillSoon()
  }

  /** For drivers that take code as an image; null for those that take the folder. */
  async #codeImage(version: Version, { folder, container, ...rest }: Trees): Promise<string | null> {
    const { images } = this.#options
    if (images === null || this.#sources.placeOf(version).driver.capabilities.codeForm !== 'image') return null
    const trees = { codeFolder: folder, ...rest, ...(container !== null && { isRoot: true }) }
    return (await images.codeImage(trees, versionKey(version))).path
  }

  #refuseStale(execution: Execution, epoch: number): void {
    const { functionName } = execution.request.version
    const message = `Epoch ${execution.request.ownerEpoch} of ${functionName} is over: the owner has ${epoch}.`
    execution.refuse({ code: 'stale_owner', message, retryAfterMs: 0 })
  }

  #expire(nowMs: number): number {
    let next = Infinity
    for (const execution of this.#executions.values()) {
      if (execution.dueMs <= nowMs) execution.onDeadline()
      else if (execution.dueMs < next) next = execution.dueMs
    }
    return next
  }

  get #keepers(): Keepers {
    return { sources: this.#sources, images: this.#options.images, logger: this.logger }
  }

  #emit(event: AgentEvent): void {
    for (const receive of this.#watchers) receive(event)
  }
}
