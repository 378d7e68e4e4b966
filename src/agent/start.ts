import type { SecretSource } from '../domain/agent.ts'
import type { Clock, Timer } from '../domain/clock.ts'
import { AppError } from '../domain/error.ts'
import type { Version } from '../domain/function.ts'
import type { ColdCause, FunctionError, StartSource } from '../domain/invocation.ts'
import type { Logger } from '../domain/logger.ts'
import { bindMessage, bindSpec, type PlaceNames } from './binding.ts'
import type { Code } from './code-cache.ts'
import type { CodeUsers } from './code-users.ts'
import type { Execution } from './execution.ts'
import { describeDeath, initError, initTimeout, startFailed, type Death, type Failure } from './failures.ts'
import type { Instance, InstanceOwner } from './instance.ts'
import type { FunctionLog } from './logs/function-log.ts'
import { unpark } from './parking.ts'
import { revealSecrets } from './secret-env.ts'
import type { Pool } from './pool.ts'
import type { Pass, StartGate, StartGroup } from './start-gate.ts'
import { timedPhase, type TimedPhase } from './start-phases.ts'

/** A shorter wait is none. */
const waitMsMin = 1

/** What whoever wants an Instance decides and is told. */
export interface StartHooks {
  readonly cause: ColdCause
  /** Whose turn it takes at the gate. */
  readonly group: StartGroup
  /** Whom to give the INVOKE together with BIND, if anyone. */
  readonly takeEarly: () => Execution | null
  readonly onStarted: (start: Start, instance: Instance) => void
  /** What it gives is waited for before the Instance is ended: until then it can tell what it has printed. Must not reject. */
  readonly onFailed: (start: Start, failure: Failure) => void | Promise<void>
}

export interface StartOptions extends StartHooks {
  readonly version: Version
  readonly pool: Pick<Pool, 'claim'>
  readonly gate: StartGate
  readonly clock: Clock
  readonly logger: Logger
  readonly log: FunctionLog
  readonly secrets: SecretSource
  readonly names: PlaceNames
  readonly users: CodeUsers
  /** Synchronous when the code is known to be here. */
  readonly code: () => Code | Promise<Code>
}

/** Bringing up one Instance for a Version. Each numbered step is a phase; it owns the Instance until READY, and kills it if a step fails.
 *
 *    0 place                            its turn on this node, and a slot to boot in: left out when there is no wait
 *    1 sandbox, network, runtime_boot   from the pool, or the first that comes up
 *    2 code_fetch                       unpacked tree and caches, usually known
 *    3 alloc (network with egress)      read-only mounts and limits of the Version (driver)
 *    4 connect                          BIND, and INVOKE with it when nobody else could serve the waiter
 *    5 code_load                        the runtime imports the handler, until READY
 */
export class Start implements InstanceOwner {
  cause: ColdCause
  phases: TimedPhase[] = []
  source: StartSource = 'boot'
  instance: Instance | null = null
  /** Got its INVOKE with BIND; not among the waiting any more. */
  execution: Execution | null = null
  isLoaded = false
  initMs = 0
  readonly #options: StartOptions
  readonly #fromMs: number
  #isOver = false
  #pass: Pass | null = null
  #turnMs = 0
  #unclaim: () => void = () => {}
  #initTimer: Timer | null = null
  #bindSentMs = 0
  #mayRetry = true

  constructor(options: StartOptions) {
    this.#options = options
    this.cause = options.cause
    this.#fromMs = options.clock.monotonicMs()
  }

  /** Still without an Instance: giving it up costs nothing. */
  get isClaiming(): boolean {
    return this.instance === null
  }

  begin(): void {
    this.#pass = this.#options.gate.enter({ group: this.#options.group, begin: () => this.#claim() })
    // It may have come to its end by then.
    if (this.#isOver) this.#pass.leave()
  }

  #claim(): void {
    this.#turnMs = this.#options.clock.monotonicMs()
    this.#unclaim = this.#options.pool.claim({
      onInstance: (instance, source) => this.#onInstance(instance, source),
      onFailed: (error) => this.#fail(startFailed(error)),
    })
  }

  /** Nobody needs it any more. */
  cancel(): void {
    if (this.#isOver) return
    this.#end()
    this.#unclaim()
    void this.instance?.kill()
  }

  #end(): void {
    this.#isOver = true
    this.#initTimer?.cancel()
    this.#pass?.leave()
  }

  onLoaded(instance: Instance): void {
    if (this.#isOver) return
    this.#end()
    const { clock } = this.#options
    const nowMs = clock.monotonicMs()
    this.initMs = nowMs - this.#bindSentMs
    this.phases.push(
      timedPhase('code_load', { fromMs: this.#bindSentMs, toMs: nowMs }),
      timedPhase('ready', { fromMs: nowMs, toMs: nowMs }),
    )
    this.isLoaded = true
    instance.state = 'ready'
    this.#options.onStarted(this, instance)
  }

  onLoadFailed(_instance: Instance, error: FunctionError & { phase: string }): void {
    this.#fail(initError(error))
  }

  onDead(_instance: Instance, death: Death): void {
    this.#fail(describeDeath(death))
  }

  onQuiet(): void {}

  #onInstance(instance: Instance, source: 'pool' | 'snapshot' | 'boot'): void {
    if (this.#isOver) return void instance.kill()
    const { clock } = this.#options
    this.instance = instance
    this.source = source
    // A ready one lost nothing by it; who waited for this one did.
    if (source !== 'pool' && instance.from.isRefused) this.cause = 'snapshot_refused'
    instance.owner = this
    const nowMs = clock.monotonicMs()
    const placedMs = source === 'pool' ? this.#turnMs : Math.max(this.#turnMs, instance.bootPhases[0]?.fromMs ?? 0)
    if (placedMs - this.#fromMs >= waitMsMin)
      this.phases.push(timedPhase('place', { fromMs: this.#fromMs, toMs: placedMs }))
    if (source === 'pool')
      for (const { phase } of instance.bootPhases)
        this.phases.push(timedPhase(phase, { fromMs: nowMs, toMs: nowMs, source: 'pool' }))
    else
      for (const phase of instance.bootPhases)
        this.phases.push({ ...phase, fromMs: Math.max(phase.fromMs, Math.min(this.#fromMs, phase.toMs)) })
    this.#place(instance).catch((error: unknown) => this.#placeFailed(instance, error))
  }

  async #place(instance: Instance): Promise<void> {
    const { version, clock, log, names } = this.#options
    void this.#options.users.during(version, async () => instance.sandbox.exited)
    // 2. Code, and the secrets' values beside it.
    const fetchFromMs = clock.monotonicMs()
    const revealing = revealSecrets(version, this.#options.secrets)
    const fetched = this.#options.code()
    const code = fetched instanceof Promise ? await fetched : fetched
    const allocFromMs = clock.monotonicMs()
    this.phases.push(
      timedPhase('code_fetch', {
        fromMs: fetchFromMs,
        toMs: allocFromMs,
        source: 'node_cache',
        bytes: fetched instanceof Promise ? version.codeBytes : 0,
      }),
    )
    // 3. The sandbox gets the Version's files and limits.
    const waking = unpark(instance.sandbox)
    if (waking !== null) await waking
    const files = await instance.sandbox.bind(bindSpec(version, code))
    const secrets = revealing === null ? null : await revealing
    if (this.#isOver || instance.isDead) return
    const connectFromMs = clock.monotonicMs()
    this.#pushBound(allocFromMs, connectFromMs, files.networkMs)
    // 4. BIND.
    instance.bindTo(version, log)
    instance.secretsStamp = secrets?.stamp ?? ''
    const message = {
      instance: instance.id,
      files,
      secretEnv: secrets?.env ?? null,
      names,
      purpose: 'serve',
      container: code.container,
    } as const
    instance.link.bind(bindMessage(version, message))
    this.#bindSentMs = clock.monotonicMs()
    const { config } = version
    this.#initTimer = clock.schedule(config.initTimeoutMs, () => this.#fail(initTimeout(config)))
    this.execution = this.#options.takeEarly()
    this.execution?.assign(instance, this)
    this.phases.push(timedPhase('connect', { fromMs: connectFromMs, toMs: clock.monotonicMs() }))
  }

  /** With a way out, the network of the bind is the one that counts; that of the boot was an empty one. */
  #pushBound(fromMs: number, toMs: number, networkMs: number | undefined): void {
    if (networkMs === undefined) return void this.phases.push(timedPhase('alloc', { fromMs, toMs }))
    const networkFromMs = toMs - Math.min(networkMs, toMs - fromMs)
    this.phases = this.phases.filter(({ phase }) => phase !== 'network')
    this.phases.push(
      timedPhase('alloc', { fromMs, toMs: networkFromMs }),
      timedPhase('network', { fromMs: networkFromMs, toMs }),
    )
  }

  /** Nothing of the user's has run yet: one more try hides an Instance that died in the pool. */
  #placeFailed(instance: Instance, error: unknown): void {
    if (this.#isOver) return
    void instance.kill()
    if (!this.#mayRetry || !(error instanceof AppError) || error.code !== 'driver_failed')
      return this.#fail(startFailed(error))
    this.#mayRetry = false
    this.#options.logger.warn('instance.bind.retried', { instanceId: instance.id, error: error.message })
    this.instance = null
    this.phases = []
    this.#claim()
  }

  #fail(failure: Failure): void {
    if (this.#isOver) return
    this.#end()
    const { logger, version } = this.#options
    logger.warn('instance.start.failed', {
      function: version.functionName,
      version: version.number,
      instanceId: this.instance?.id,
      reason: failure.crashReason,
      error: failure.error.errorMessage,
    })
    if (this.execution === null && this.instance?.version != null)
      this.#options.log.append(this.#options.clock.nowMs(), 'p', {
        invocation: null,
        instance: this.instance.id,
        text: `[hearth] start failed: ${failure.error.errorType}: ${failure.error.errorMessage.replaceAll(/[\r\n]+/g, ' ')}`,
      })
    const told = this.#options.onFailed(this, failure)
    if (told instanceof Promise) void told.then(() => this.instance?.kill())
    else void this.instance?.kill()
  }
}
