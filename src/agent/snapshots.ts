import { allOver } from '../domain/all-over.ts'
import { createHash } from 'node:crypto'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Digest } from '../domain/artifact.ts'
import type { Clock } from '../domain/clock.ts'
import { AppError } from '../domain/error.ts'
import { versionKey, type Version } from '../domain/function.ts'
import type { Logger } from '../domain/logger.ts'
import type { Snapshot, SnapshotKey, SnapshotKind } from '../domain/snapshot.ts'
import { Undo } from '../domain/undo.ts'
import type { PlaceNames } from './binding.ts'
import type { Origin } from './boot.ts'
import { cloneFault, cloneSecretName, drawIdentity, type Drawn } from './clone-check.ts'
import type { Code } from './code-cache.ts'
import type { Instance } from './instance.ts'
import type { Place } from './place.ts'
import { bindNothing, bindVersion, type Recipe } from './snapshot-recipe.ts'
import { SnapshotShelf } from './snapshot-shelf.ts'

export interface SnapshotsOptions {
  readonly folder: string
  readonly boot: (place: Place, origin: Origin) => Promise<Instance>
  readonly clock: Clock
  readonly logger: Logger
  readonly names: PlaceNames
  readonly newToken: () => string
  /** This node still has the interpreter. */
  readonly hasBuild: (build: Digest) => boolean
  /** One serves no more; its files go when this resolves. */
  readonly onRemoved: (snapshot: Snapshot) => Promise<void>
}

/** What may be restored for a place or a Version now, and if nothing, why. */
export interface Usable {
  readonly snapshot: Snapshot | null
  /** Null when there is no reason: nobody asked for one yet, or it is being made. */
  readonly why: string | null
}

type State =
  | {
      readonly making: Promise<Snapshot>
      /** Resolves once it is known whether there is one already; until then it is sooner found than a machine is booted. */
      readonly looked: Promise<void>
      readonly why: string | null
    }
  | { readonly snapshot: Snapshot }
  | { readonly why: string; readonly retryAtMs: number }

interface Entry {
  readonly place: Place
  /** `versionKey`; null for a runtime snapshot. */
  readonly owner: string | null
  readonly state: State
}

/** One that could not be made is not tried again sooner by the starts that want it. */
const retryMs = 60_000
/** Warming up reads what most handlers import; hooks of a function may close connections. */
const answerMsMax = 60_000
/** Writing 2 GiB to a slow disk takes half of it. */
const saveMsMax = 120_000
const notSaved = `Cannot take a snapshot: the machine did not save itself within ${saveMsMax} ms.`

/** The snapshots of this node: found again after a restart, made when asked for, checked with two clones before they serve.
 *
 *    function snapshot (opt-in) -> runtime snapshot + code -> cold boot: each is the full fallback of the one before.
 *
 *  `usable*` answer at once and never make anything; `ensure*` make what is missing, once for all who ask. */
export class Snapshots {
  readonly #options: SnapshotsOptions
  readonly #entries = new Map<string, Entry>()
  readonly #shelf: SnapshotShelf

  constructor(options: SnapshotsOptions) {
    this.#options = options
    this.#shelf = new SnapshotShelf(options.folder, options.logger)
  }

  /** Finds what an earlier platform left. */
  async open(): Promise<void> {
    await this.#shelf.open()
  }

  usable(place: Place): Usable {
    return usableOf(this.#entries.get(place.key)?.state)
  }

  usableOf(version: Version, place: Place): Usable {
    return usableOf(this.#entries.get(functionKey(version, place))?.state)
  }

  /** Resolves when it is known whether there is a runtime snapshot of `place`, which is looked for when nobody did; null when it is known. */
  look(place: Place): Promise<void> | null {
    if (!this.#entries.has(place.key)) this.want(place)
    return lookingOf(this.#entries.get(place.key)?.state)
  }

  /** The same for a function snapshot. */
  lookOf(version: Version, place: Place, code: Code): Promise<void> | null {
    const key = functionKey(version, place)
    if (!this.#entries.has(key)) this.wantOf(version, place, code)
    return lookingOf(this.#entries.get(key)?.state)
  }

  /** The runtime snapshot of `place`. Throws guest_failed when clones of it share what they must not, and what boot and save throw. */
  async ensure(place: Place): Promise<Snapshot> {
    return this.#ensure(place.key, place, {
      kind: 'runtime',
      owner: null,
      codeImage: null,
      prepare: async () => {},
      bindClone: async (instance, secretEnv) => bindNothing(instance, secretEnv, this.#options),
    })
  }

  /** Nothing is being made for `place` now. */
  isSettled(place: Place): boolean {
    const entry = this.#entries.get(place.key)
    return entry !== undefined && !('making' in entry.state)
  }

  /** The function snapshot of `version`: module-level code is in it, secrets are not. */
  async ensureOf(version: Version, place: Place, code: Code): Promise<Snapshot> {
    const bind: Recipe['bindClone'] = (instance, secretEnv) =>
      bindVersion(instance, { version, code, secretEnv }, this.#options)
    return this.#ensure(functionKey(version, place), place, {
      kind: 'function',
      owner: versionKey(version),
      codeImage: code.image,
      prepare: async (instance) => bind(instance, {}),
      bindClone: bind,
    })
  }

  /** Makes the runtime snapshot of `place` beside a start that had to do without, unless that failed a moment ago. */
  want(place: Place): void {
    if (this.#isDue(place.key)) this.ensure(place).catch(() => {})
  }

  /** The same for a function snapshot; after a restart it is found again so. Failures are logged where it is made. */
  wantOf(version: Version, place: Place, code: Code): void {
    if (this.#isDue(functionKey(version, place))) this.ensureOf(version, place, code).catch(() => {})
  }

  #isDue(stateKey: string): boolean {
    const state = this.#entries.get(stateKey)?.state
    if (state === undefined) return true
    return 'retryAtMs' in state && this.#options.clock.monotonicMs() >= state.retryAtMs
  }

  /** A snapshot that could not be restored serves no more; a later start makes it anew. */
  async failed(place: Place, snapshot: Snapshot, error: unknown): Promise<void> {
    const why = error instanceof Error ? error.message : String(error)
    for (const [key, entry] of this.#entries)
      if ('snapshot' in entry.state && entry.state.snapshot.id === snapshot.id)
        this.#entries.set(key, { ...entry, state: { why, retryAtMs: 0 } })
    this.#options.logger.warn('snapshot.failed', { snapshot: snapshot.id, kind: snapshot.kind, why })
    await this.#remove(place, snapshot)
  }

  /** Versions with a function snapshot here, by `versionKey`. */
  owners(): readonly string[] {
    const here = [...this.#entries.values()].flatMap(({ owner }) => owner ?? [])
    return [...new Set([...here, ...this.#shelf.owners()])]
  }

  /** Removes the function snapshots of a Version; one that is being made goes when it is done. */
  async forget(owner: string): Promise<void> {
    await this.#shelf.forget(owner)
    for (const [key, { place, owner: own, state }] of this.#entries) {
      if (own !== owner) continue
      this.#entries.delete(key)
      if ('snapshot' in state) await this.#remove(place, state.snapshot)
    }
  }

  #ensure(stateKey: string, place: Place, recipe: Recipe): Promise<Snapshot> {
    const state = this.#entries.get(stateKey)?.state
    if (state !== undefined && 'snapshot' in state) return Promise.resolve(state.snapshot)
    if (state !== undefined && 'making' in state) return state.making
    const { promise: looked, resolve: onLooked } = Promise.withResolvers<void>()
    const making = this.#findOrMake(stateKey, place, { ...recipe, onLooked })
    const settle = (next: State): boolean => {
      onLooked()
      const now = this.#entries.get(stateKey)?.state
      // Forgotten meanwhile, and maybe asked for again: then it is another's.
      if (now === undefined || !('making' in now) || now.making !== making) return false
      this.#entries.set(stateKey, { place, owner: recipe.owner, state: next })
      return true
    }
    this.#entries.set(stateKey, { place, owner: recipe.owner, state: { making, looked, why: state?.why ?? null } })
    void this.#follow(making, settle, { kind: recipe.kind, place })
    return making
  }

  async #follow(
    making: Promise<Snapshot>,
    settle: (next: State) => boolean,
    { kind, place }: { kind: SnapshotKind; place: Place },
  ): Promise<void> {
    try {
      const snapshot = await making
      if (!settle({ snapshot })) await this.#remove(place, snapshot)
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error)
      settle({ why, retryAtMs: this.#options.clock.monotonicMs() + retryMs })
      this.#options.logger.warn('snapshot.make.failed', { kind, place: place.key, why })
    }
  }

  async #findOrMake(
    stateKey: string,
    place: Place,
    recipe: Recipe & { readonly onLooked: () => void },
  ): Promise<Snapshot> {
    const { driver, build, memoryMib } = place
    const { kind, owner } = recipe
    const own = await driver.snapshotKey?.({ runtime: build, memoryMib, codeImage: recipe.codeImage })
    if (own === undefined) throw new AppError('driver_failed', `Driver ${driver.name} has no snapshots.`)
    const runtime = `${build.id} ${build.version}`
    // The same code may be of several Versions: what came of it in memory is of one.
    const key = owner === null ? { runtime, ...own } : { runtime, ...own, function: digestOf(stateKey) }
    const subject = { owner, runtime: build.id, build: build.digest }
    const { hasBuild } = this.#options
    const found = await this.#shelf.take({ ...subject, driver: driver.name, kind, memoryMib, key, hasBuild })
    if (found.snapshot !== null) return found.snapshot
    // From here on receipts say why there is none yet.
    const entry = this.#entries.get(stateKey)
    if (found.why !== null && entry !== undefined && 'making' in entry.state)
      this.#entries.set(stateKey, { ...entry, state: { ...entry.state, why: found.why } })
    recipe.onLooked()
    return this.#make(place, recipe, key)
  }

  async #make(place: Place, recipe: Recipe, key: SnapshotKey): Promise<Snapshot> {
    const { clock, logger, boot, folder, newToken } = this.#options
    const fromMs = clock.monotonicMs()
    const saveTo = join(folder, `${recipe.kind}-${newToken().slice(0, 16)}`)
    const undo = new Undo()
    try {
      undo.add('folder', () => rm(saveTo, { recursive: true, force: true }))
      const instance = await boot(place, { kind: 'boot', refused: [], saveTo })
      undo.add('instance', async () => void (await instance.kill()))
      // Before BIND a PING lets the runtime warm up, once for all clones; the second one is answered when that is done.
      await this.#answered(instance, 'wake up', async () => {
        await instance.link.ping()
        await instance.link.ping()
      })
      await recipe.prepare(instance)
      await this.#answered(instance, 'become quiet (does a beforeSnapshot hook not end?)', () =>
        instance.link.prepareSnapshot(),
      )
      const snapshot = await this.#inTime(
        async () => place.driver.snapshot?.(instance.sandbox, { folder: saveTo, kind: recipe.kind, key }),
        { instance, limitMs: saveMsMax, late: () => new AppError('driver_failed', notSaved) },
      )
      if (snapshot === undefined) throw new AppError('driver_failed', `Driver ${place.driver.name} has no snapshots.`)
      undo.add('memory', async () => place.driver.forgetSnapshot?.(snapshot))
      await instance.kill()
      const savedMs = clock.monotonicMs()
      await allOver([this.#check(place, recipe, snapshot), this.#shelf.sync(saveTo)])
      await this.#shelf.put(saveTo, { owner: recipe.owner, runtime: place.build.id, build: place.build.digest })
      undo.disarm()
      const [makeMs, checkMs] = [savedMs - fromMs, clock.monotonicMs() - savedMs]
      logger.info('snapshot.made', { snapshot: snapshot.id, kind: snapshot.kind, place: place.key, makeMs, checkMs })
      return snapshot
    } catch (error) {
      await undo.run().catch((cause: unknown) => logger.error('snapshot.undo.failed', { error: String(cause) }))
      throw error
    }
  }

  /** Ends `instance`, and `work` with it, when the guest does not answer in time. */
  async #answered(instance: Instance, what: string, work: () => Promise<void>): Promise<void> {
    const message = `Cannot take a snapshot: the runtime did not ${what} within ${answerMsMax} ms.`
    const late = (): AppError => new AppError('guest_failed', message)
    await this.#inTime(work, { instance, limitMs: answerMsMax, late })
  }

  /** Ends `instance` when `work` on it takes longer, and throws `late`, whatever becomes of the work. */
  async #inTime<T>(
    work: () => Promise<T>,
    { instance, limitMs, late }: { instance: Instance; limitMs: number; late: () => AppError },
  ): Promise<T> {
    const tooLate = Promise.withResolvers<never>()
    const timer = this.#options.clock.schedule(limitMs, () => {
      tooLate.reject(late())
      void instance.kill()
    })
    try {
      return await Promise.race([work(), tooLate.promise])
    } finally {
      timer.cancel()
    }
  }

  /** Two clones at a time must differ in all that makes an Instance one of its own. */
  async #check(place: Place, recipe: Recipe, snapshot: Snapshot): Promise<void> {
    const { boot, clock, newToken } = this.#options
    const clone = async (): Promise<Drawn> => {
      const { codeImage } = recipe
      const secret = newToken()
      const instance = await boot(place, { kind: 'restore', snapshot, codeImage, refused: [] })
      try {
        await recipe.bindClone(instance, { [cloneSecretName]: secret })
        return { ...(await drawIdentity(instance, clock)), secret }
      } finally {
        await instance.kill()
      }
    }
    const [one, two] = await allOver([clone(), clone()])
    const fault = cloneFault([one, two], place.build)
    if (fault !== null)
      throw new AppError('guest_failed', `The ${snapshot.kind} snapshot must not serve: ${fault}.`, {
        detail: place.key,
      })
  }

  async #remove(place: Place, snapshot: Snapshot): Promise<void> {
    await this.#options.onRemoved(snapshot)
    await place.driver.forgetSnapshot?.(snapshot).catch((error: unknown) => {
      this.#options.logger.warn('snapshot.forget.failed', { snapshot: snapshot.id, error: String(error) })
    })
    await rm(snapshot.folder, { recursive: true, force: true })
  }
}

function usableOf(state: State | undefined): Usable {
  if (state === undefined) return { snapshot: null, why: null }
  if ('snapshot' in state) return { snapshot: state.snapshot, why: null }
  return { snapshot: null, why: state.why }
}

function lookingOf(state: State | undefined): Promise<void> | null {
  return state !== undefined && 'making' in state ? state.looked : null
}

/** What is in a function snapshot, or decides how it came about. Not when the Version was stored: it is made before that. */
export function functionKey(version: Version, place: Place): string {
  const { codeDigest, config } = version
  return [versionKey(version), codeDigest, config.handler, JSON.stringify(config.env), place.key].join(' ')
}

function digestOf(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 32)
}
