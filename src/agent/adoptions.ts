import type { SecretSource, VersionSource } from '../domain/agent.ts'
import type { Clock } from '../domain/clock.ts'
import type { Sandbox } from '../domain/driver.ts'
import { AppError } from '../domain/error.ts'
import { versionKey, type Version } from '../domain/function.ts'
import { bindMessage, bindSpec, type PlaceNames } from './binding.ts'
import { helloInTime, takeOverInstance, type BootContext } from './boot.ts'
import type { Code } from './code-cache.ts'
import { Handles, type FoundHandle, type InstanceHandle } from './handles.ts'
import type { Instance } from './instance.ts'
import type { Place } from './place.ts'
import { revealSecrets } from './secret-env.ts'
import type { VersionGroup } from './version-group.ts'

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
  readonly placeOf: (version: Version) => Place
  readonly code: (version: Version) => Code | Promise<Code>
  /** Memory for one more of `version`; false when there is none. */
  readonly reserve: (version: Version) => boolean
  readonly groupOf: (version: Version) => VersionGroup
}

/** One that is worth being asked for. */
interface Candidate {
  readonly handle: InstanceHandle
  readonly version: Version
  readonly place: Place
  readonly code: Code
  readonly secretEnv: Readonly<Record<string, string>> | null
}

/** From the driver's first word to an Instance that serves. What takes longer is started anew in that time. */
const adoptMsMax = 20_000

/** A start waits no longer than this: taking over a machine needs 0.1 s, emulated on a busy host some seconds. */
const waitMsMax = 3_000

/** Instances that live on when their agent is killed: a handle of each is on disk. Those that an agent before this one left: each is taken over, or ended with a reason in the log.
 *
 *    handle on disk --readable, Version and secrets unchanged, same driver--> asked of the driver --answers under a new epoch, idle, bound again--> its Version's
 *                \--not------------------------------------------------------> swept            \--not-------------------------------------> killed
 *
 *  An invocation that it ran when its agent went is over: it ended as `crashed` when its caller's connection did, and nobody is left to be told. */
export class Adoptions {
  readonly #options: AdoptionsOptions
  readonly #handles: Handles
  readonly #stop = new AbortController()
  #adopting: Promise<unknown> = Promise.resolve()

  constructor(options: AdoptionsOptions) {
    this.#options = options
    this.#handles = new Handles(options.boot.instancesFolder, options.boot.logger)
  }

  /** `instance` serves its Version from now on. A process dies with its platform; what serves one invocation alone is not worth keeping. */
  loaded(instance: Instance): void {
    if (instance.from.outlivesAgent && instance.version?.config.reuse !== 'never') this.#handles.keep(instance)
  }

  /** Resolves when all that must not be overtaken is done: the drivers hold what may go on, the rest is being ended. */
  async begin(): Promise<void> {
    const { survivors, boot } = this.#options
    if (survivors === null) return
    const found = await this.#handles.read()
    const candidates = await Promise.all(found.map((each) => this.#consider(each, survivors)))
    // Each driver holds it at once: the sweep that follows is for the others.
    const adopting = candidates.filter((each) => each !== null).map((each) => this.#adopt(each))
    this.#adopting = Promise.all(adopting)
    const swept = await survivors.sweep()
    const known = new Set(found.map(({ instance }) => instance))
    const unknown = swept.filter((name) => !known.has(name))
    if (unknown.length > 0) boot.logger.info('instance.swept', { instances: unknown, why: 'they have no handle' })
  }

  /** Resolves when each has been decided, or soon: one that takes longer joins later, or not at all. */
  async settledSoon(): Promise<void> {
    const soon = Promise.withResolvers<void>()
    const timer = this.#options.boot.clock.schedule(waitMsMax, soon.resolve)
    await Promise.race([this.#adopting, soon.promise])
    timer.cancel()
  }

  /** What is still being taken over is ended. */
  stop(): void {
    this.#stop.abort()
  }

  /** Resolves when nothing is under way any more. */
  async settled(): Promise<void> {
    await this.#adopting
    await this.#handles.settled()
  }

  /** Null for one that must not go on. */
  async #consider(found: FoundHandle, { versions }: Survivors): Promise<Candidate | null> {
    try {
      if ('refusal' in found) throw refusal(found.refusal)
      return await this.#candidate(found.handle, versions)
    } catch (error) {
      this.#refused(found.instance, error)
      return null
    }
  }

  async #candidate(handle: InstanceHandle, versions: VersionSource): Promise<Candidate> {
    const { secrets, placeOf } = this.#options
    const { project, functionName, number, createdAt, codeDigest, runtimeDigest } = handle.version
    const version = await versions.find(project, functionName, number)
    if (version === null) throw refusal(`${versionKey(handle.version)} is gone`)
    if (version.createdAt !== createdAt || version.codeDigest !== codeDigest || version.runtimeDigest !== runtimeDigest)
      throw refusal(`${versionKey(handle.version)} is another version now`)
    const place = placeOf(version)
    if (place.driver.name !== handle.sandbox.driver)
      throw refusal(`its function runs by driver ${place.driver.name} now, not by ${handle.sandbox.driver}`)
    if (place.build.digest !== runtimeDigest) throw refusal('its runtime was replaced')
    const revealed = await revealSecrets(version, secrets)
    if ((revealed?.stamp ?? '') !== handle.secretsStamp) throw refusal('its secrets were set again')
    // Here and not when it is bound: until drivers are probed each counts as working.
    const code = await this.#options.code(version)
    return { handle, version, place, code, secretEnv: revealed?.env ?? null }
  }

  /** Never rejects. Asks the driver before it first waits. */
  async #adopt(candidate: Candidate): Promise<void> {
    const { boot } = this.#options
    const { clock, logger } = boot
    const { handle, version, place } = candidate
    const fromMs = clock.monotonicMs()
    let sandbox: Sandbox | null = null
    try {
      const epoch = boot.newToken()
      const spec = { epoch, runtime: place.build }
      const options = { deadlineMs: clock.nowMs() + adoptMsMax, signal: this.#stop.signal }
      sandbox = await place.driver.recover(handle.sandbox, spec, options)
      if (sandbox === null) throw refusal('it has ended')
      const instance = takeOverInstance(boot, { epoch, place, sandbox, handle })
      await this.#resume(instance, candidate)
      if (this.#stop.signal.aborted) throw refusal('the platform is ending')
      if (!this.#options.reserve(version)) throw refusal('there is no memory for it')
      this.#options.groupOf(version).adopt(instance)
      const adoptMs = Math.round(clock.monotonicMs() - fromMs)
      logger.info('instance.adopted', { instanceId: handle.instance, version: versionKey(version), adoptMs })
    } catch (error) {
      await sandbox?.kill().catch((cause: unknown) => {
        logger.error('instance.kill.failed', { instanceId: handle.instance, error: String(cause) })
      })
      this.#refused(handle.instance, error)
    }
  }

  /** Until it is loaded and idle again, under this agent. Throws with the reason when it cannot be. */
  async #resume(instance: Instance, { handle, version, code, secretEnv }: Candidate): Promise<void> {
    const { boot, names, groupOf } = this.#options
    const { clock } = boot
    await helloInTime(instance, clock, adoptMsMax)
    const { log } = groupOf(version)
    if (instance.wasBusy) {
      const text = '[hearth] it still ran an invocation of the platform before this one, which ended as crashed'
      log.append(clock.nowMs(), 'p', { invocation: null, instance: instance.id, text })
      throw refusal('it still ran an invocation, which ended as crashed')
    }
    const files = await instance.sandbox.bind(bindSpec(version, code))
    instance.bindTo(version, log)
    instance.secretsStamp = handle.secretsStamp
    const message = { instance: instance.id, files, secretEnv, names, purpose: 'serve' } as const
    await loaded(instance, clock, () => instance.link.bind(bindMessage(version, message)))
    await instance.readUsage()
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

/** Resolves at READY after `bind`. */
function loaded(instance: Instance, clock: Clock, bind: () => void): Promise<void> {
  return new Promise((resolve, reject) => {
    const fail = (why: string): void => {
      timer.cancel()
      reject(refusal(why))
    }
    const timer = clock.schedule(adoptMsMax, () => fail(`it was not READY within ${adoptMsMax} ms`))
    instance.owner = {
      onLoaded: () => {
        timer.cancel()
        resolve()
      },
      onLoadFailed: (_instance, { errorMessage }) => fail(`it could not be bound again: ${errorMessage}`),
      onDead: (_instance, { exit, breach }) => fail(breach ?? `it ended (${exit?.signal ?? exit?.code})`),
      onQuiet: () => {},
    }
    bind()
  })
}
