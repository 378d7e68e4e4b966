import type { SecretSource, VersionSource } from '../domain/agent.ts'
import type { Sandbox, Usage } from '../domain/driver.ts'
import { AppError } from '../domain/error.ts'
import { versionKey, type Version } from '../domain/function.ts'
import { bindMessage, bindSpec, type PlaceNames } from './binding.ts'
import { helloInTime, takeOverInstance, vmmText, type BootContext } from './boot.ts'
import type { Code } from './code-cache.ts'
import type { CodeUsers } from './code-users.ts'
import { Handles, type FoundHandle, type InstanceHandle } from './handles.ts'
import type { Instance } from './instance.ts'
import type { MemoryBudget } from './memory-budget.ts'
import type { Place } from './place.ts'
import { frozenMib } from './rest-policy.ts'
import { revealSecrets } from './secret-env.ts'
import type { VersionGroup } from './version-group.ts'
import { isMeant, type EvictFilter } from './version-groups.ts'

/** Where the Instances of an earlier agent are. */
export interface Survivors {
  readonly versions: VersionSource
  /** Ends those that no driver was asked to recover by now; resolves with their names. */
  sweep(): Promise<readonly string[]>
}

export interface AdoptionsOptions {
  /** Null: none is looked for. */
  readonly survivors: Survivors | null
  readonly boot: BootContext
  readonly secrets: SecretSource
  readonly names: PlaceNames
  readonly budget: MemoryBudget
  readonly placeOf: (version: Version) => Place
  readonly code: (version: Version) => Code | Promise<Code>
  readonly users: CodeUsers
  readonly groupOf: (version: Version) => VersionGroup
}

/** What of a handle holds here and now. */
interface Fit {
  readonly version: Version
  readonly place: Place
  readonly secretEnv: Readonly<Record<string, string>> | null
}

/** One that is worth being asked for. */
interface Candidate extends Fit {
  readonly handle: InstanceHandle
  readonly code: Promise<Code>
  /** Aborts with the reason why it must not go on. */
  readonly stop: AbortController
  /** What it counts towards the node's memory, until that is its group's to give back. */
  chargedMib: number
}

/** For the driver's part, from when the guest is spoken to, and again from there to READY. What takes longer is started anew in that time. */
const adoptMsMax = 20_000

/** A start waits no longer than this: taking over a machine needs 0.1 s, emulated on a busy host some seconds. */
const waitMsMax = 3_000

/** A machine's use is one answer of its guest, asked when it has just answered. */
const usageMsMax = 1_000

/** What a machine counts until its use was read: the least that a frozen one does. */
const unreadMib = 64

/** Instances that live on when their agent is killed: a handle of each is on disk. Those that an agent before this one left: each is taken over, or ended with a reason in the log.
 *
 *    handle on disk --readable, Version and secrets unchanged, same driver--> asked of the driver --answers under a new epoch, idle, bound again--> looked at again --> its Version's
 *                \--not------------------------------------------------------> swept            \--not, or evicted meanwhile--------------------------------\--> killed
 *
 *  An invocation that it ran when its agent went is over: it ended as `crashed` when its caller's connection did, and nobody is left to be told. */
export class Adoptions {
  readonly #options: AdoptionsOptions
  readonly #handles: Handles
  readonly #stop = new AbortController()
  readonly #opened = Promise.withResolvers<void>()
  /** Until each has joined its Version's group, or was refused. */
  readonly #underWay = new Set<Candidate>()
  readonly #adopting: Promise<void>[] = []
  #holding: Promise<void> = Promise.resolve()
  #leftMs = waitMsMax

  constructor(options: AdoptionsOptions) {
    this.#options = options
    this.#handles = new Handles(options.boot.instancesFolder, options.boot.logger)
  }

  /** `instance` serves its Version from now on. A process dies with its platform; what serves one invocation alone is not worth keeping. */
  loaded(instance: Instance): void {
    if (instance.from.outlivesAgent && instance.version?.config.reuse !== 'never') this.#handles.keep(instance)
  }

  /** Resolves when the drivers hold what may go on and the rest is being ended, or soon: no uid of an earlier machine is given out before it has ended. */
  async begin(): Promise<void> {
    const { survivors, boot } = this.#options
    if (survivors === null) return
    const fromMs = boot.clock.monotonicMs()
    const holding = this.#hold(survivors)
    this.#holding = holding.catch((error: unknown) => {
      boot.logger.error('instance.survey.failed', { error: String(error) })
    })
    await this.#soon(holding)
    this.#leftMs = Math.max(0, waitMsMax - (boot.clock.monotonicMs() - fromMs))
  }

  /** The drivers that this agent begins with have been probed: what was taken over may join. */
  opened(): void {
    this.#opened.resolve()
  }

  /** Resolves when each has been decided, or soon: one that takes longer joins later, or not at all. */
  async settledSoon(): Promise<void> {
    await this.#soon(this.#decided())
  }

  /** Those of `filter` that are still being taken over are ended. Returns how many. */
  evict(filter: EvictFilter): number {
    const meant = [...this.#underWay].filter(({ version, stop }) => isMeant(version, filter) && !stop.signal.aborted)
    for (const { stop } of meant)
      stop.abort(refusal('it was evicted: its function was deleted, updated or given another secret'))
    return meant.length
  }

  /** What is still being taken over is ended. */
  stop(): void {
    this.#stop.abort(refusal('the platform is ending'))
  }

  /** Resolves when nothing is under way any more. */
  async settled(): Promise<void> {
    await this.#decided()
    await this.#handles.settled()
  }

  async #decided(): Promise<void> {
    await this.#holding
    await Promise.all(this.#adopting)
  }

  async #soon(work: Promise<void>): Promise<void> {
    const soon = Promise.withResolvers<void>()
    const timer = this.#options.boot.clock.schedule(this.#leftMs, soon.resolve)
    try {
      await Promise.race([work, soon.promise])
    } finally {
      timer.cancel()
    }
  }

  /** Asks for each as soon as its handle was looked at; the sweep that follows is for the others. */
  async #hold(survivors: Survivors): Promise<void> {
    const found = await this.#handles.read()
    await Promise.all(found.map((each) => this.#consider(each, survivors)))
    const swept = await survivors.sweep()
    const known = new Set(found.map(({ instance }) => instance))
    const unknown = swept.filter((name) => !known.has(name))
    const { logger } = this.#options.boot
    if (unknown.length > 0) logger.info('instance.swept', { instances: unknown, why: 'they have no handle' })
  }

  /** Never rejects. Begins to take over one that may go on. */
  async #consider(found: FoundHandle, { versions }: Survivors): Promise<void> {
    try {
      if ('refusal' in found) throw refusal(found.refusal)
      const fit = await this.#fit(found.handle, versions)
      // Here and not when it is bound: its guest wakes meanwhile.
      const code = Promise.resolve().then(() => this.#options.code(fit.version))
      code.catch(() => {}) // Told when it is waited for.
      const candidate = { ...fit, handle: found.handle, code, stop: new AbortController(), chargedMib: 0 }
      this.#underWay.add(candidate)
      this.#adopting.push(this.#adopt(candidate, versions).finally(() => this.#underWay.delete(candidate)))
    } catch (error) {
      this.#refused(found.instance, error)
    }
  }

  /** Throws with the reason why the Instance of `handle` must not go on. */
  async #fit(handle: InstanceHandle, versions: VersionSource): Promise<Fit> {
    const { secrets, placeOf } = this.#options
    const { project, functionName, number, createdAt, codeDigest, runtimeDigest } = handle.version
    const version = await versions.find(project, functionName, number)
    if (version === null) throw refusal(`${versionKey(handle.version)} is gone`)
    if (version.createdAt !== createdAt || version.codeDigest !== codeDigest || version.runtimeDigest !== runtimeDigest)
      throw refusal(`${versionKey(handle.version)} is another version now`)
    const revealed = await revealSecrets(version, secrets)
    if ((revealed?.stamp ?? '') !== handle.secretsStamp) throw refusal('its secrets were set again')
    const place = placeOf(version)
    if (place.driver.name !== handle.sandbox.driver)
      throw refusal(`its function runs by driver ${place.driver.name} now, not by ${handle.sandbox.driver}`)
    if (place.build.digest !== runtimeDigest) throw refusal('its runtime was replaced')
    // Unknown until the driver has booted a guest; drivers refuse by themselves what the operator refuses.
    const [made, here] = [handle.record.vmm, vmmText(place.driver)]
    if (here !== null && made !== here) throw refusal(`it was made by ${made ?? 'no VMM'}, here is ${here}`)
    return { version, place, secretEnv: revealed?.env ?? null }
  }

  /** Never rejects. Asks the driver before it first waits. */
  async #adopt(candidate: Candidate, versions: VersionSource): Promise<void> {
    const { boot, budget, users, groupOf } = this.#options
    const { clock, logger } = boot
    const { handle, version, place, stop } = candidate
    const signal = AbortSignal.any([this.#stop.signal, stop.signal])
    const fromMs = clock.monotonicMs()
    let sandbox: Sandbox | null = null
    try {
      this.#charge(candidate, Math.min(version.config.memoryMib, unreadMib))
      const epoch = boot.newToken()
      const spec = { epoch, runtime: place.build }
      sandbox = await place.driver.recover(handle.sandbox, spec, { deadlineMs: clock.nowMs() + adoptMsMax, signal })
      if (sandbox === null) throw refusal('it has ended')
      const { exited } = sandbox
      void users.during(version, async () => exited)
      const instance = takeOverInstance(boot, { epoch, place, sandbox, handle })
      await unlessAborted(this.#resume(instance, candidate, signal), signal)
      await unlessAborted(this.#opened.promise, signal)
      // What may have changed meanwhile: drivers were probed, a secret was set, the function deleted.
      await this.#fit(handle, versions)
      signal.throwIfAborted()
      if (!instance.isReachable) throw refusal('it ended')
      groupOf(version).adopt(instance, candidate.chargedMib)
      this.#underWay.delete(candidate)
      const adoptMs = Math.round(clock.monotonicMs() - fromMs)
      logger.info('instance.adopted', { instanceId: handle.instance, version: versionKey(version), adoptMs })
    } catch (error) {
      await sandbox?.kill().catch((cause: unknown) => {
        logger.error('instance.kill.failed', { instanceId: handle.instance, error: String(cause) })
      })
      budget.give(candidate.chargedMib)
      this.#refused(handle.instance, signal.aborted ? signal.reason : error)
    }
  }

  /** Until it is loaded and idle again, under this agent, and counts what a frozen one counts: what it holds, or all of its size when its guest does not say. Throws with the reason when it cannot be. */
  async #resume(instance: Instance, candidate: Candidate, signal: AbortSignal): Promise<void> {
    const { boot, names, groupOf } = this.#options
    const { clock } = boot
    const { handle, version, secretEnv, stop } = candidate
    const code = await candidate.code
    const late = refusal(`it was not READY within ${adoptMsMax} ms`)
    const timer = clock.schedule(adoptMsMax, () => stop.abort(late))
    try {
      await helloInTime(instance, clock, adoptMsMax)
      // A function made anew since has a group of its own under this name.
      signal.throwIfAborted()
      const { log } = groupOf(version)
      if (instance.wasBusy) {
        const text = '[hearth] it still ran an invocation of the platform before this one, which ended as crashed'
        log.append(clock.nowMs(), 'p', { invocation: null, instance: instance.id, text })
        throw refusal('it still ran an invocation, which ended as crashed')
      }
      const files = await instance.sandbox.bind(bindSpec(version, code))
      instance.bindTo(version, log)
      instance.secretsStamp = handle.secretsStamp
      const message = {
        instance: instance.id,
        files,
        secretEnv,
        names,
        purpose: 'serve',
        container: code.container,
      } as const
      await loaded(instance, () => instance.link.bind(bindMessage(version, message)))
    } finally {
      timer.cancel()
    }
    const usage = await this.#usage(instance)
    // It is given back by then.
    signal.throwIfAborted()
    instance.chargedMib = version.config.memoryMib
    const heldMib = usage === null ? instance.chargedMib : frozenMib(instance)
    this.#charge(candidate, Math.min(instance.chargedMib, heldMib))
  }

  /** Null when its guest does not say it in time. */
  async #usage(instance: Instance): Promise<Usage | null> {
    const unread = Promise.withResolvers<null>()
    const timer = this.#options.boot.clock.schedule(usageMsMax, () => unread.resolve(null))
    const usage = await Promise.race([instance.usage.read(), unread.promise])
    timer.cancel()
    return usage
  }

  /** From here on it counts `mib`. Nobody is evicted for it: what an earlier agent left is worth no more than what this one has. */
  #charge(candidate: Candidate, mib: number): void {
    const { budget } = this.#options
    const moreMib = mib - candidate.chargedMib
    if (moreMib < 0) budget.give(-moreMib)
    else if (!budget.tryTake(moreMib)) throw refusal('there is no memory for it')
    candidate.chargedMib = mib
  }

  #refused(instance: string, error: unknown): void {
    const why = error instanceof Error ? error.message : String(error)
    this.#options.boot.logger.warn('instance.adopt.refused', { instanceId: instance, why })
    this.#handles.remove(instance)
  }
}

function refusal(why: string): AppError {
  return new AppError('driver_failed', why)
}

/** `work`, or a rejection as soon as `signal` aborts. What comes of it later is for the caller to end. */
async function unlessAborted(work: Promise<void>, signal: AbortSignal): Promise<void> {
  const aborted = Promise.withResolvers<never>()
  const onAbort = (): void => aborted.reject(signal.reason)
  signal.addEventListener('abort', onAbort)
  if (signal.aborted) onAbort()
  try {
    await Promise.race([work, aborted.promise])
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}

/** Resolves at READY after `bind`. */
function loaded(instance: Instance, bind: () => void): Promise<void> {
  return new Promise((resolve, reject) => {
    const fail = (why: string): void => reject(refusal(why))
    instance.owner = {
      onLoaded: () => resolve(),
      onLoadFailed: (_instance, { errorMessage }) => fail(`it could not be bound again: ${errorMessage}`),
      onDead: (_instance, { exit, breach }) => fail(breach ?? `it ended (${exit?.signal ?? exit?.code})`),
      onQuiet: () => {},
    }
    bind()
  })
}
