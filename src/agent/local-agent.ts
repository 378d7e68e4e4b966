import type {
  Agent,
  AgentEvent,
  AgentStatus,
  ExecuteCall,
  ExecuteRequest,
  ExecuteUp,
  OutcomeSink,
} from '../domain/agent.ts'
import { systemClock, type Clock } from '../domain/clock.ts'
import type { ProbeResult } from '../domain/driver.ts'
import { AppError } from '../domain/error.ts'
import { versionKey, type Version } from '../domain/function.ts'
import type { InstanceInfo } from '../domain/instance.ts'
import type { Logger } from '../domain/logger.ts'
import type { RuntimeBuild } from '../domain/runtime.ts'
import { Alarm } from './alarm.ts'
import { bootInstance } from './boot.ts'
import { CodeCache } from './code-cache.ts'
import { makeBytecode } from './compile.ts'
import { Execution, type ExecutionHost, type Fate } from './execution.ts'
import { openHostService } from './host-service.ts'
import type { Instance } from './instance.ts'
import { FunctionLogs } from './logs/function-logs.ts'
import { loadOnce } from './load-once.ts'
import type { LocalAgentOptions } from './local-agent-options.ts'
import { MemoryBudget } from './memory-budget.ts'
import { Pools } from './pools.ts'
import { Start, type StartHooks } from './start.ts'
import { UsageSampler } from './usage-sampler.ts'
import type { GroupHost, VersionGroup } from './version-group.ts'
import { VersionGroups, type EvictFilter } from './version-groups.ts'
import { randomBytes } from 'node:crypto'

const logBytesPerSecondDefault = 4 * 1024 * 1024
const drainPollMs = 20

/** The Agent of the machine it runs on: sole authority on its Instances, memory and logs. */
export function createLocalAgent(options: LocalAgentOptions): Agent {
  return new LocalAgent(options)
}

class LocalAgent implements Agent, ExecutionHost, GroupHost {
  readonly node: string
  readonly arch: string
  readonly driver: string
  readonly clock: Clock
  readonly logger: Logger
  readonly outcomes: OutcomeSink
  readonly logs: Agent['logs']
  isDraining = false
  readonly #options: LocalAgentOptions
  readonly #functionLogs: FunctionLogs
  readonly #budget: MemoryBudget
  readonly #code: CodeCache
  readonly #pools: Pools
  readonly #groups: VersionGroups
  readonly #executions = new Map<string, Execution>()
  readonly #watchers = new Set<(event: AgentEvent) => void>()
  readonly #deadlines: Alarm
  readonly #sweeps: Alarm
  readonly #sampler: UsageSampler
  #probe: ProbeResult | null = null
  #isClosed = false

  constructor(options: LocalAgentOptions) {
    this.#options = options
    this.clock = options.clock ?? systemClock
    this.logger = options.logger
    this.node = options.node
    this.arch = options.arch
    this.driver = options.driver.name
    this.outcomes = options.outcomes
    this.#functionLogs = new FunctionLogs(options.folders.logs, { clock: this.clock, logger: this.logger })
    this.logs = this.#functionLogs.service
    this.#budget = new MemoryBudget(options.memoryMib, (freeMib) => this.#emit({ type: 'capacity', freeMib }))
    this.#code = new CodeCache(options.artifacts)
    this.#deadlines = new Alarm(this.clock, (nowMs) => this.#expire(nowMs))
    this.#sweeps = new Alarm(this.clock, (nowMs) => this.#groups.sweep(nowMs))
    this.#groups = new VersionGroups(this, {
      logs: this.#functionLogs,
      forgotten: (version) => this.#code.forget(version),
    })
    this.#pools = new Pools({
      size: options.poolSize,
      boot: (build) => this.#boot(build),
      budget: this.#budget,
      clock: this.clock,
      logger: this.logger,
      isStarting: () => this.#groups.isStarting(),
    })
    this.#sampler = new UsageSampler(this.clock, () => this.#groups.instances())
  }

  /** Known once the driver has probed the machine. */
  get mayPause(): boolean {
    return this.#options.driver.capabilities.pause
  }

  async register(): Promise<AgentStatus> {
    this.#probe = await this.#options.driver.probe()
    if (!this.#probe.works)
      this.logger.error('driver.probe.failed', { driver: this.driver, detail: this.#probe.detail })
    for (const family of ['node', 'python'] as const) {
      try {
        this.#pools.of(this.#options.runtimes.resolve(family))
      } catch (error) {
        this.logger.warn('runtime.missing', { family, error: String(error) })
      }
    }
    this.#pools.refillSoon()
    return this.status()
  }

  async deploy(
    version: Version,
    { report = () => {}, mustLoad = false }: Parameters<Agent['deploy']>[1] = {},
  ): Promise<void> {
    const build = this.#buildOf(version)
    const { folder, bytes, entries } = await this.#options.artifacts.unpack(version.codeDigest)
    report(`Unpacked ${entries} entries, ${bytes} bytes.`)
    const cacheFolder = await makeBytecode({
      version,
      folder,
      build,
      artifacts: this.#options.artifacts,
      clock: this.clock,
      logger: this.logger,
      names: this.#options.names,
      boot: () => this.#boot(build),
      report,
    })
    this.#code.set(version, { folder, cacheFolder })
    this.#emit({ type: 'cache', digest: version.codeDigest, present: true })
    this.#pools.of(build)
    this.#pools.refillSoon()
    if (mustLoad) await loadOnce(version, this)
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
      this.#sampler.wake()
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
    return [...this.#pools.ready(), ...this.#groups.instances()].map((instance) => instance.info())
  }

  async attach(
    invocationId: string,
    fromOffset: number,
    receive: (frame: ExecuteUp) => void,
  ): Promise<ExecuteCall | null> {
    const execution = this.#executions.get(invocationId)
    execution?.attach(fromOffset, receive)
    return execution ?? null
  }

  async evict(filter: EvictFilter): Promise<number> {
    return this.#groups.evict(filter)
  }

  async drain(deadline: number): Promise<void> {
    this.isDraining = true
    this.#pools.stop()
    while (this.#executions.size > 0 && this.clock.nowMs() < deadline)
      await new Promise<void>((resolve) => void this.clock.schedule(drainPollMs, resolve))
    for (const execution of this.#executions.values()) execution.cancel('the node is shutting down')
    for (const group of this.#groups.all()) group.retire()
    await this.#functionLogs.flush()
  }

  async health(): Promise<{ ok: boolean; detail: string }> {
    if (this.#isClosed) return { ok: false, detail: 'The agent is closed.' }
    if (this.#probe?.works === false) return { ok: false, detail: this.#probe.detail }
    return { ok: true, detail: this.isDraining ? 'draining' : 'ready' }
  }

  async status(): Promise<AgentStatus> {
    const states = { booted: 0, ready: 0, busy: 0, frozen: 0 }
    states.booted = this.#pools.ready().length
    for (const { state } of this.#groups.instances())
      if (state === 'ready' || state === 'busy' || state === 'frozen') states[state]++
    return {
      node: this.node,
      arch: this.arch,
      draining: this.isDraining,
      memoryMib: this.#budget.totalMib,
      freeMib: this.#budget.freeMib,
      drivers: [
        {
          name: this.driver,
          works: this.#probe?.works ?? false,
          detail: this.#probe?.detail ?? 'not probed yet',
          enforced: this.#options.driver.capabilities.enforced,
        },
      ],
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
    for (const alarm of [this.#deadlines, this.#sweeps]) alarm.stop()
    for (const execution of [...this.#executions.values()])
      execution.refuse({ code: 'draining', message: `Node ${this.node} is closing.`, retryAfterMs: 1_000 })
    await Promise.all([...this.#groups.instances()].map((instance) => instance.kill()))
    await this.#pools.close()
    await this.#options.driver.close()
    await this.#functionLogs.flush()
  }

  // What executions and groups ask of the agent.

  onFinished(execution: Execution, fate: Fate): void {
    this.#executions.delete(execution.request.invocationId)
    this.#groups.of(execution.request.version).finished(execution, fate)
  }

  reserve(version: Version): boolean {
    const { config, runtimeDigest } = version
    // Booted ones go first: they are the cheapest to make again.
    while (!this.#budget.tryTake(config.memoryMib))
      if (!this.#pools.shrink(runtimeDigest) && !this.#groups.evictOldest(version)) return false
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
      pool: this.#pools.of(this.#buildOf(version)),
      clock: this.clock,
      logger: this.logger,
      secrets: this.#options.secrets,
      names: this.#options.names,
      code: () => this.#code.get(version),
    })
  }

  onInstanceChanged(instance: Instance): void {
    if (this.#watchers.size > 0) this.#emit({ type: 'instance', instance: instance.info() })
  }

  sweepAt(dueMs: number): void {
    this.#sweeps.at(dueMs)
  }

  onStartOver(): void {
    this.#pools.refillSoon()
  }

  #buildOf(version: Version): RuntimeBuild {
    try {
      return this.#options.runtimes.pinned(version.runtimeDigest)
    } catch (error) {
      if (!(error instanceof AppError) || error.code !== 'not_found') throw error
      // The pinned build was updated in place: the same runtime id is the nearest there is.
      const build = this.#options.runtimes.resolve(version.runtimeId)
      this.logger.warn('runtime.pinned.replaced', { version: versionKey(version), runtime: build.id })
      return build
    }
  }

  #boot(build: RuntimeBuild): Promise<Instance> {
    const {
      driver,
      folders,
      hostServices,
      logBytesPerSecond = logBytesPerSecondDefault,
      newToken = () => randomBytes(16).toString('hex'),
    } = this.#options
    return bootInstance(
      {
        node: this.node,
        driver,
        clock: this.clock,
        logger: this.logger,
        instancesFolder: folders.instances,
        logBytesPerSecond,
        openService: (service, instance, stream) => openHostService(hostServices, service, { instance, stream }),
        newToken,
      },
      build,
    )
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

  #emit(event: AgentEvent): void {
    for (const receive of this.#watchers) receive(event)
  }
}
