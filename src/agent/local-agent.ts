import type {
  Agent,
  AgentEvent,
  AgentStatus,
  ExecuteCall,
  ExecuteRequest,
  ExecuteUp,
  HostServices,
  OutcomeSink,
  SecretSource,
} from '../domain/agent.ts'
import type { ArtifactStore } from '../domain/artifact.ts'
import { systemClock, type Clock } from '../domain/clock.ts'
import type { Driver, ProbeResult } from '../domain/driver.ts'
import { AppError } from '../domain/error.ts'
import type { Arch, Version } from '../domain/function.ts'
import { versionKey } from '../domain/function.ts'
import type { InstanceInfo } from '../domain/instance.ts'
import type { Logger } from '../domain/logger.ts'
import type { RuntimeBuild, RuntimeCatalog } from '../domain/runtime.ts'
import { Alarm } from './alarm.ts'
import type { PlaceNames } from './binding.ts'
import { bootInstance } from './boot.ts'
import { CodeCache } from './code-cache.ts'
import { makeBytecode } from './compile.ts'
import { Execution, type ExecutionHost } from './execution.ts'
import type { Instance } from './instance.ts'
import { FunctionLogs } from './logs/function-logs.ts'
import { MemoryBudget } from './memory-budget.ts'
import { BootSlots, Pool, unboundMib } from './pool.ts'
import { Start } from './start.ts'
import { UsageSampler } from './usage-sampler.ts'
import { VersionGroup, type GroupHost } from './version-group.ts'
import { randomBytes } from 'node:crypto'
import { availableParallelism } from 'node:os'
import type { Duplex } from 'node:stream'

export interface LocalAgentOptions {
  readonly node: string
  readonly arch: Arch
  readonly driver: Driver
  readonly runtimes: RuntimeCatalog
  readonly artifacts: ArtifactStore
  readonly secrets: SecretSource
  readonly hostServices: HostServices
  readonly outcomes: OutcomeSink
  readonly logger: Logger
  readonly folders: { readonly instances: string; readonly logs: string }
  /** What Instances may hold together. */
  readonly memoryMib: number
  /** Booted Instances to keep ready per runtime in use. */
  readonly poolSize: number
  readonly names: PlaceNames
  /** Log output of one Instance; more is dropped. */
  readonly logBytesPerSecond?: number
  readonly clock?: Clock
  /** Source of ids: 32 lower-case hex digits, not to be guessed. */
  readonly newToken?: () => string
}

/** A start over, refilling waits this long for the next claim, so that it never runs beside a cold start it could wait for. */
const refillDelayMs = 10
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
  readonly mayPause: boolean
  readonly logs: Agent['logs']
  isDraining = false
  readonly #options: LocalAgentOptions
  readonly #functionLogs: FunctionLogs
  readonly #budget: MemoryBudget
  readonly #code: CodeCache
  readonly #slots = new BootSlots(Math.max(4, availableParallelism() * 2))
  readonly #pools = new Map<string, Pool>()
  readonly #groups = new Map<string, VersionGroup>()
  /** The same by identity: the control hands in the same object again and again. */
  readonly #groupOf = new WeakMap<Version, VersionGroup>()
  readonly #owners = new Map<string, { epoch: number }>()
  readonly #executions = new Map<string, Execution>()
  readonly #watchers = new Set<(event: AgentEvent) => void>()
  readonly #deadlines: Alarm
  readonly #sweeps: Alarm
  readonly #refills: Alarm
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
    this.mayPause = options.driver.capabilities.pause
    this.#functionLogs = new FunctionLogs(options.folders.logs, { clock: this.clock, logger: this.logger })
    this.logs = this.#functionLogs.service
    this.#budget = new MemoryBudget(options.memoryMib, (freeMib) => this.#emit({ type: 'capacity', freeMib }))
    this.#code = new CodeCache(options.artifacts)
    this.#deadlines = new Alarm(this.clock, (nowMs) => this.#expire(nowMs))
    this.#sweeps = new Alarm(this.clock, (nowMs) => this.#sweep(nowMs))
    this.#refills = new Alarm(this.clock, (nowMs) => this.#refill(nowMs))
    this.#sampler = new UsageSampler(this.clock, () => this.#instances())
    this.#slots.onFree = () => {
      for (const pool of this.#pools.values()) pool.bootForClaims()
      this.#refillSoon()
    }
  }

  async register(): Promise<AgentStatus> {
    this.#probe = await this.#options.driver.probe()
    if (!this.#probe.works)
      this.logger.error('driver.probe.failed', { driver: this.driver, detail: this.#probe.detail })
    for (const family of ['node', 'python'] as const) {
      try {
        this.#poolOf(this.#options.runtimes.resolve(family))
      } catch (error) {
        this.logger.warn('runtime.missing', { family, error: String(error) })
      }
    }
    this.#refillSoon()
    return this.status()
  }

  async deploy(version: Version, report: (line: string) => void = () => {}): Promise<void> {
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
    this.#poolOf(build)
    this.#refillSoon()
  }

  async prepare(version: Version, { min, until }: { min: number; until: number }): Promise<void> {
    this.#group(version).prepare(min, this.clock.monotonicMs() + until - this.clock.nowMs())
  }

  execute(request: ExecuteRequest, receive: (frame: ExecuteUp) => void): ExecuteCall {
    const group = this.#groupOf.get(request.version) ?? this.#group(request.version)
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
    const booted = [...this.#pools.values()].flatMap((pool) => pool.ready)
    return [...booted, ...this.#instances()].map((instance) => instance.info())
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

  async evict(filter: { project: string; functionName?: string; version?: number; secret?: string }): Promise<number> {
    let evicted = 0
    for (const [key, group] of this.#groups) {
      if (!matches(group.version, filter)) continue
      evicted += group.retire()
      if (group.isEmpty) this.#forget(key, group)
    }
    return evicted
  }

  async drain(deadline: number): Promise<void> {
    this.isDraining = true
    this.#refills.stop()
    while (this.#executions.size > 0 && this.clock.nowMs() < deadline)
      await new Promise<void>((resolve) => void this.clock.schedule(drainPollMs, resolve))
    for (const execution of this.#executions.values()) execution.cancel('the node is shutting down')
    for (const group of this.#groups.values()) group.retire()
    await this.#functionLogs.flush()
  }

  async health(): Promise<{ ok: boolean; detail: string }> {
    if (this.#isClosed) return { ok: false, detail: 'The agent is closed.' }
    if (this.#probe?.works === false) return { ok: false, detail: this.#probe.detail }
    return { ok: true, detail: this.isDraining ? 'draining' : 'ready' }
  }

  async status(): Promise<AgentStatus> {
    const states = { booted: 0, ready: 0, busy: 0, frozen: 0 }
    for (const pool of this.#pools.values()) states.booted += pool.ready.length
    for (const { state } of this.#instances())
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
    for (const alarm of [this.#deadlines, this.#sweeps, this.#refills]) alarm.stop()
    for (const execution of [...this.#executions.values()])
      execution.refuse({ code: 'draining', message: `Node ${this.node} is closing.`, retryAfterMs: 1_000 })
    await Promise.all([...this.#instances()].map((instance) => instance.kill()))
    await Promise.all([...this.#pools.values()].map((pool) => pool.close()))
    await this.#options.driver.close()
    await this.#functionLogs.flush()
  }

  // What executions and groups ask of the agent.

  onFinished(execution: Execution, instance: Instance | null, keep: boolean): void {
    this.#executions.delete(execution.request.invocationId)
    const { version } = execution.request
    const group = this.#groupOf.get(version) ?? this.#group(version)
    group.finished(execution, instance, keep)
  }

  reserve(group: VersionGroup): boolean {
    const needMib = group.version.config.memoryMib
    while (!this.#budget.tryTake(needMib)) if (!this.#makeRoom(group)) return false
    return true
  }

  release(mib: number): void {
    this.#budget.give(mib)
  }

  charge(mib: number): void {
    this.#budget.take(mib)
  }

  makeStart(group: VersionGroup, hooks: Parameters<GroupHost['makeStart']>[1]): Start {
    const { version, log } = group
    return new Start({
      ...hooks,
      version,
      log,
      pool: this.#poolOf(this.#buildOf(version)),
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
    this.#refillSoon()
  }

  #group(version: Version): VersionGroup {
    const key = versionKey(version)
    const known = this.#groups.get(key)
    if (known !== undefined && isSame(known.version, version)) {
      this.#groupOf.set(version, known)
      return known
    }
    // A function was deleted and made again: its numbers begin anew.
    known?.retire()
    const name = `${version.project}/${version.functionName}`
    const owner = this.#owners.get(name) ?? { epoch: 0 }
    this.#owners.set(name, owner)
    const log = this.#functionLogs.of(version.project, version.functionName)
    const group = new VersionGroup(this, { version, log, owner })
    this.#groups.set(key, group)
    this.#groupOf.set(version, group)
    return group
  }

  #forget(key: string, group: VersionGroup): void {
    this.#groups.delete(key)
    this.#groupOf.delete(group.version)
    this.#code.forget(group.version)
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

  #poolOf(build: RuntimeBuild): Pool {
    const known = this.#pools.get(build.digest)
    if (known !== undefined) return known
    const pool = new Pool({
      build,
      size: this.#options.poolSize,
      boot: (which) => this.#boot(which),
      slots: this.#slots,
      budget: this.#budget,
      clock: this.clock,
      logger: this.logger,
    })
    this.#pools.set(build.digest, pool)
    return pool
  }

  #boot(build: RuntimeBuild): Promise<Instance> {
    const { driver, folders, logBytesPerSecond = logBytesPerSecondDefault, newToken = randomToken } = this.#options
    return bootInstance(
      {
        node: this.node,
        driver,
        clock: this.clock,
        logger: this.logger,
        instancesFolder: folders.instances,
        logBytesPerSecond,
        openService: (service, instance, stream) => this.#openService(service, instance, stream),
        newToken,
      },
      build,
    )
  }

  #openService(service: string, instance: Instance, stream: Duplex): boolean {
    const { version } = instance
    if (version === null) return false
    const identity = {
      project: version.project,
      functionName: version.functionName,
      version: version.number,
      instance: instance.id,
      scopes: version.config.permissions,
    }
    return this.#options.hostServices.open(service, identity, stream)
  }

  #refuseStale(execution: Execution, epoch: number): void {
    const { functionName } = execution.request.version
    const message = `Epoch ${execution.request.ownerEpoch} of ${functionName} is over: the owner has ${epoch}.`
    execution.refuse({ code: 'stale_owner', message, retryAfterMs: 0 })
  }

  /** Booted ones first: they are the cheapest to make again; then the idle Instance of another Version that rested longest. */
  #makeRoom(forGroup: VersionGroup): boolean {
    for (const pool of this.#pools.values())
      if (pool.build.digest !== forGroup.version.runtimeDigest && pool.shrink()) return true
    let oldest: { group: VersionGroup; instance: Instance } | null = null
    for (const group of this.#groups.values()) {
      const instance = group === forGroup ? null : group.oldestIdle
      if (instance === null || (oldest !== null && oldest.instance.idleSinceMs <= instance.idleSinceMs)) continue
      oldest = { group, instance }
    }
    oldest?.group.discard(oldest.instance, 'evicted')
    return oldest !== null
  }

  #expire(nowMs: number): number {
    let next = Infinity
    for (const execution of this.#executions.values()) {
      if (execution.dueMs <= nowMs) execution.onDeadline()
      else if (execution.dueMs < next) next = execution.dueMs
    }
    return next
  }

  #sweep(nowMs: number): number {
    let next = Infinity
    for (const group of this.#groups.values()) {
      const dueMs = group.sweep(nowMs)
      if (dueMs < next) next = dueMs
    }
    return next
  }

  #refillSoon(): void {
    if (!this.isDraining) this.#refills.at(this.clock.monotonicMs() + refillDelayMs)
  }

  /** One boot at a time and none beside a start: refilling must never take time from work. */
  #refill(nowMs: number): number {
    if (this.isDraining) return Infinity
    const isShort = [...this.#pools.values()].some((pool) => pool.isShort)
    if (!isShort || this.#budget.freeMib < unboundMib) return Infinity
    const isBusy = !this.#slots.isIdle || [...this.#groups.values()].some((group) => group.isStarting)
    if (!isBusy) for (const pool of this.#pools.values()) if (this.#slots.isIdle) pool.refill()
    return nowMs + (isBusy ? refillDelayMs : refillDelayMs * 10)
  }

  *#instances(): Generator<Instance> {
    for (const group of this.#groups.values()) yield* group.live
  }

  #emit(event: AgentEvent): void {
    for (const receive of this.#watchers) receive(event)
  }
}

function randomToken(): string {
  return randomBytes(16).toString('hex')
}

function isSame(a: Version, b: Version): boolean {
  return (
    a === b || (a.codeDigest === b.codeDigest && a.createdAt === b.createdAt && a.runtimeDigest === b.runtimeDigest)
  )
}

function matches(
  version: Version,
  filter: { project: string; functionName?: string; version?: number; secret?: string },
): boolean {
  return (
    version.project === filter.project &&
    (filter.functionName === undefined || version.functionName === filter.functionName) &&
    (filter.version === undefined || version.number === filter.version) &&
    (filter.secret === undefined || Object.values(version.config.secrets).includes(filter.secret))
  )
}
