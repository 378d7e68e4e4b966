import type { Clock } from '../domain/clock.ts'
import type { Driver, IsolationPolicy } from '../domain/driver.ts'
import { AppError, toAppError } from '../domain/error.ts'
import { versionKey, type Version } from '../domain/function.ts'
import type { Logger } from '../domain/logger.ts'
import { runtimeFamilies, type RuntimeBuild, type RuntimeCatalog } from '../domain/runtime.ts'
import type { Snapshot } from '../domain/snapshot.ts'
import type { PlaceNames } from './binding.ts'
import { bootInstance, newInstanceId, type BootContext, type Origin, type Refusal } from './boot.ts'
import type { Code } from './code-cache.ts'
import type { Instance } from './instance.ts'
import type { MemoryBudget } from './memory-budget.ts'
import { placeOf, type Place } from './place.ts'
import type { BringReason, Pool } from './pool.ts'
import { Pools } from './pools.ts'
import { ProbedDrivers } from './probed-drivers.ts'
import { functionKey, Snapshots } from './snapshots.ts'
import type { Spare, SpareSource } from './spares.ts'
import { defaultConfig } from '../domain/default-config.ts'
import { join } from 'node:path'

export interface SourcesOptions {
  readonly boot: BootContext
  readonly drivers: readonly Driver[]
  readonly isolation: IsolationPolicy
  readonly runtimes: RuntimeCatalog
  readonly snapshotsFolder: string
  readonly names: PlaceNames
  readonly poolSize: number
  readonly vmPoolSize: number
  readonly vmFunctionPoolSize: number
  readonly vmPrespawn: number
  readonly budget: MemoryBudget
  readonly clock: Clock
  readonly logger: Logger
  readonly isStarting: () => boolean
  /** The files of a Version, as they were made at deploy. */
  readonly code: (version: Version) => Code | Promise<Code>
}

interface Bringing {
  readonly reason: BringReason
  readonly refused: readonly Refusal[]
}

/** Where Instances come from: which driver and runtime a Version gets, the pools, and the ladder that each Instance is brought up by:
 *  function snapshot, else runtime snapshot and code, else cold boot. */
export class Sources {
  readonly drivers: ProbedDrivers
  readonly pools: Pools
  #isClosing = false
  readonly #options: SourcesOptions
  readonly #snapshots: Snapshots

  constructor(options: SourcesOptions) {
    this.#options = options
    const { clock, logger, budget, isStarting, names } = options
    this.drivers = new ProbedDrivers(options.drivers, options.isolation, logger)
    this.#snapshots = new Snapshots({
      folder: options.snapshotsFolder,
      boot: (place, origin) => this.#boot(place, origin),
      newToken: options.boot.newToken,
      hasBuild: (digest) => options.runtimes.list().some((build) => build.digest === digest),
      onRemoved: (snapshot) => this.pools.spares.retire(snapshot),
      ...{ clock, logger, names },
    })
    this.pools = new Pools({
      size: options.poolSize,
      vmSize: options.vmPoolSize,
      vmFunctionSize: options.vmFunctionPoolSize,
      spareSize: options.vmPrespawn,
      bring: (place, reason) => this.bring(place, { reason }),
      prespawn: (source) => this.#prespawn(source),
      isWorthWaiting: (place) => place.driver.capabilities.snapshots && !this.#snapshots.isSettled(place),
      onNewPlace: (place) => this.#onNewPlace(place),
      ...{ budget, clock, logger, isStarting },
    })
  }

  /** Probes the drivers, finds earlier snapshots, and begins to fill the pools of the default runtimes. */
  async open(): Promise<void> {
    await this.drivers.open()
    if (this.drivers.all.some(({ capabilities }) => capabilities.snapshots)) await this.#snapshots.open()
    // What runs programs of the user's own is up so soon that its pool can wait for the first Function.
    for (const family of runtimeFamilies) if (family !== 'provided') this.#warmUp(family)
    this.pools.refillSoon()
  }

  /** What `version` runs on. Throws driver_failed when no driver of the isolation it asks for works, invalid or not_found for its runtime. */
  placeOf(version: Version): Place {
    const { isolation, memoryMib } = version.config
    return placeOf(this.drivers.of(isolation), this.#buildOf(version), memoryMib)
  }

  /** Where the next Instance of `version` comes from. A Version that cannot be placed any more fails its claims with the reason. */
  poolOf(version: Version): Pick<Pool, 'claim'> {
    if (version.config.isolation === 'vm' && !this.drivers.isProbed)
      return { claim: (claim) => later(claim, async () => this.#probedPoolOf(version)) }
    try {
      const place = this.placeOf(version)
      if (!place.driver.capabilities.snapshots || version.config.snapshot === 'runtime') return this.pools.of(place)
      const key = functionKey(version, place)
      if (version.config.snapshot === 'none')
        return this.pools.own(key, place, { bring: () => this.#boot(place, { kind: 'boot', refused: [] }) })
      return this.pools.own(key, place, {
        size: this.#options.vmFunctionPoolSize,
        bring: (_place, reason) => this.#bringOwn(version, place, reason),
        // What is kept ready must be worth it.
        isWorthWaiting: () => this.#snapshots.usableOf(version, place).snapshot === null,
      })
    } catch (error) {
      return { claim: failing(error) }
    }
  }

  async #probedPoolOf(version: Version): Promise<Pick<Pool, 'claim'>> {
    await this.drivers.probeAll()
    return this.poolOf(version)
  }

  /** The strongest rung that holds now: restored from the runtime snapshot, else booted. `refused`: a stronger one that did not. */
  async bring(place: Place, { reason = 'claim', refused = [] }: Partial<Bringing> = {}): Promise<Instance> {
    if (!place.driver.capabilities.snapshots) return this.#boot(place, { kind: 'boot', refused })
    const looking = this.#snapshots.look(place)
    if (looking !== null) await looking
    const { snapshot, why } = this.#snapshots.usable(place)
    if (snapshot !== null) return this.#restore({ place, snapshot, codeImage: null }, { reason, refused })
    this.#snapshots.want(place)
    return this.#boot(place, { kind: 'boot', refused: [...refused, ...refusals('runtime', why)] })
  }

  /** Makes the snapshots that starts of `version` will want. Throws guest_failed when its code or its clones are at fault;
   *  any other failure costs speed only, and is reported. */
  async prepare(version: Version, code: Code, report: (line: string) => void): Promise<void> {
    const place = this.placeOf(version)
    const { snapshot: mode } = version.config
    if (!place.driver.capabilities.snapshots || mode === 'none') return
    const ensure = async (what: string, codeImage: string | null, make: () => Promise<Snapshot>): Promise<void> => {
      try {
        const snapshot = await make()
        this.pools.spares.need({ place, snapshot, codeImage })
        const { bytes } = snapshot
        report(`Snapshot of the ${what}: ${Math.round(bytes / 2 ** 20)} MiB.`)
      } catch (thrown) {
        const error = toAppError(thrown)
        if (error.code === 'guest_failed') throw error
        report(`No snapshot of the ${what}, starts will be slower: ${error.message}`)
      }
    }
    await ensure('runtime', null, () => this.#snapshots.ensure(place))
    if (mode !== 'function') return
    await ensure('function', code.image, () => this.#snapshots.ensureOf(version, place, code))
  }

  /** `version` has not run here for long: what is in memory for it goes. */
  rest(version: Version): void {
    this.pools.forget(versionKey(version))
  }

  /** Versions with a function snapshot on this node. */
  owners(): readonly string[] {
    return this.#snapshots.owners()
  }

  /** A Version is no more, or needs not start fast any more: its snapshots go. */
  async forget(owner: string): Promise<void> {
    this.pools.forget(owner)
    await this.#snapshots.forget(owner)
  }

  async close(): Promise<void> {
    this.#isClosing = true
    await this.pools.close()
    await this.drivers.close()
  }

  async #bringOwn(version: Version, place: Place, reason: BringReason): Promise<Instance> {
    const code = await this.#options.code(version)
    const looking = this.#snapshots.lookOf(version, place, code)
    if (looking !== null) await looking
    const { snapshot, why } = this.#snapshots.usableOf(version, place)
    if (snapshot !== null) return this.#restore({ place, snapshot, codeImage: code.image }, { reason, refused: [] })
    // The next rung serves meanwhile.
    this.#snapshots.wantOf(version, place, code)
    return this.bring(place, { reason, refused: refusals('function', why) })
  }

  /** Restores, and takes the next rung when that fails. */
  async #restore(source: SpareSource, { reason, refused }: Bringing): Promise<Instance> {
    const { place, snapshot } = source
    const origin = { kind: 'restore', ...source, refused } as const
    if (reason === 'claim') {
      this.pools.spares.need(source)
      const instance = await this.#restoreSpare(place, origin)
      if (instance !== null) return instance
    }
    try {
      return await this.#boot(place, origin)
    } catch (error) {
      // An end of ours says nothing of the snapshot either, nor does a node without room for one more machine, by whatever rung.
      if (this.#isClosing || toAppError(error).code === 'capacity') throw error
      await this.#snapshots.failed(place, snapshot, error)
      const all = [...refused, ...refusals(snapshot.kind, error instanceof Error ? error.message : String(error))]
      return snapshot.kind === 'function'
        ? this.bring(place, { reason, refused: all })
        : this.#boot(place, { kind: 'boot', refused: all })
    }
  }

  /** From a VMM that was started ahead; null when there is none, or it failed, which says nothing of the snapshot. */
  async #restoreSpare(place: Place, origin: Origin & { kind: 'restore' }): Promise<Instance | null> {
    const spare = this.pools.spares.take(origin.snapshot)
    if (spare === null) return null
    try {
      return await this.#boot(place, { ...origin, spare })
    } catch (error) {
      this.#options.logger.warn('spare.restore.failed', { instanceId: spare.id, error: String(error) })
      await spare.prespawned.kill()
      return null
    }
  }

  async #prespawn({ place, snapshot, codeImage }: SpareSource): Promise<Spare> {
    const { newToken, instancesFolder } = this.#options.boot
    const id = newInstanceId(newToken)
    const spec = { instanceId: id, runtime: place.build, folder: join(instancesFolder, id), codeImage }
    const prespawned = await place.driver.prespawn?.(snapshot, spec)
    if (prespawned === undefined)
      throw new AppError('driver_failed', `Driver ${place.driver.name} starts no machines ahead.`)
    return { id, prespawned }
  }

  #boot(place: Place, origin: Origin): Promise<Instance> {
    return bootInstance(this.#options.boot, place, origin)
  }

  #warmUp(family: (typeof runtimeFamilies)[number]): void {
    try {
      const build = this.#options.runtimes.resolve(family)
      const { memoryMib } = defaultConfig('x86_64')
      this.pools.of(placeOf(this.drivers.of('auto'), build, memoryMib))
    } catch (error) {
      this.#options.logger.warn('runtime.missing', { family, error: String(error) })
    }
  }

  #onNewPlace(place: Place): void {
    if (place.driver.capabilities.snapshots) void this.#firstSnapshot(place)
  }

  async #firstSnapshot(place: Place): Promise<void> {
    // A failure is logged where it is made; starts boot cold then.
    const snapshot = await this.#snapshots.ensure(place).catch(() => null)
    if (snapshot !== null) this.pools.spares.need({ place, snapshot, codeImage: null })
    this.pools.refillSoon()
  }

  #buildOf(version: Version): RuntimeBuild {
    const { runtimes, logger } = this.#options
    try {
      return runtimes.pinned(version.runtimeDigest)
    } catch (error) {
      if (!(error instanceof AppError) || error.code !== 'not_found') throw error
      // The pinned build was updated in place: the same runtime id is the nearest there is.
      const build = runtimes.resolve(version.runtimeId, version.config.contract)
      logger.warn('runtime.pinned.replaced', { version: versionKey(version), runtime: build.id })
      return build
    }
  }
}

function refusals(kind: Refusal['kind'], why: string | null): readonly Refusal[] {
  return why === null ? [] : [{ kind, why }]
}

function failing(error: unknown): Pool['claim'] {
  const fail = async (): Promise<never> => {
    throw error
  }
  return (claim) => later(claim, fail)
}

/** Claims from the pool that comes, unless it was taken back by then. */
function later(claim: Parameters<Pool['claim']>[0], coming: () => Promise<Pick<Pool, 'claim'>>): () => void {
  let isOff = false
  let unclaim = (): void => {}
  const claimed = (pool: Pick<Pool, 'claim'>): void => {
    if (!isOff) unclaim = pool.claim(claim)
  }
  const failed = (error: unknown): void => {
    if (!isOff) claim.onFailed(error)
  }
  coming().then(claimed, failed)
  return () => {
    isOff = true
    unclaim()
  }
}
