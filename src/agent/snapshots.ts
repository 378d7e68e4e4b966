import { createHash } from 'node:crypto'
import { access, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Clock } from '../domain/clock.ts'
import { AppError } from '../domain/error.ts'
import { versionKey, type Version } from '../domain/function.ts'
import type { Logger } from '../domain/logger.ts'
import { snapshotRefusal, type Snapshot, type SnapshotKey, type SnapshotKind } from '../domain/snapshot.ts'
import { Undo } from '../domain/undo.ts'
import { bindMessage, bindSpec, type PlaceNames } from './binding.ts'
import type { Origin } from './boot.ts'
import { cloneFault, drawIdentity, type Drawn } from './clone-check.ts'
import type { Code } from './code-cache.ts'
import type { Instance } from './instance.ts'
import type { Place } from './place.ts'

export interface SnapshotsOptions {
  readonly folder: string
  readonly boot: (place: Place, origin: Origin) => Promise<Instance>
  readonly clock: Clock
  readonly logger: Logger
  readonly names: PlaceNames
  readonly newToken: () => string
}

/** What may be restored for a place or a Version now, and if nothing, why. */
export interface Usable {
  readonly snapshot: Snapshot | null
  /** Null when there is no reason: nobody asked for one yet, or it is being made. */
  readonly why: string | null
}

type State =
  { making: Promise<Snapshot>; why: string | null } | { snapshot: Snapshot } | { why: string; retryAtMs: number }

const nothing: Usable = { snapshot: null, why: null }
const readyMsMax = 60_000
/** In the folder of a snapshot whose clones were compared: without it, it was about to be. */
const checkedMark = 'checked'
/** One that could not be made is not tried again sooner by the starts that want it. */
const retryMs = 60_000

/** The snapshots of this node: found again after a restart, made when asked for, checked with two clones before they serve.
 *
 *    function snapshot (opt-in) -> runtime snapshot + code -> cold boot: each is the full fallback of the one before.
 *
 *  `usable*` answer at once and never make anything; `ensure*` make what is missing, once for all who ask. */
export class Snapshots {
  readonly #options: SnapshotsOptions
  readonly #states = new Map<string, State>()
  /** As found on disk at the start, until the first that asks compares keys. */
  #found: Snapshot[] = []

  constructor(options: SnapshotsOptions) {
    this.#options = options
  }

  /** Reads what an earlier platform left; what is half made or damaged is removed. */
  async open(): Promise<void> {
    const { folder, logger } = this.#options
    await mkdir(folder, { recursive: true, mode: 0o700 })
    for (const name of await readdir(folder)) {
      const own = join(folder, name)
      const snapshot = await readSnapshot(own)
      if (snapshot !== null) this.#found.push(snapshot)
      else {
        logger.info('snapshot.removed', { name, why: 'incomplete' })
        await rm(own, { recursive: true, force: true })
      }
    }
  }

  usable(place: Place): Usable {
    return usableOf(this.#states.get(place.key))
  }

  usableOf(version: Version, place: Place): Usable {
    return usableOf(this.#states.get(functionKey(version, place)))
  }

  /** The runtime snapshot of `place`. Throws guest_failed when clones of it share what they must not, and what boot and save throw. */
  async ensure(place: Place): Promise<Snapshot> {
    return this.#ensure(place.key, place, {
      kind: 'runtime',
      codeImage: null,
      prepare: async () => {},
      bindClone: async (instance) => this.#bindNothing(instance),
    })
  }

  /** Nothing is being made for `place` now. */
  isSettled(place: Place): boolean {
    const state = this.#states.get(place.key)
    return state !== undefined && !('making' in state)
  }

  /** The function snapshot of `version`: module-level code is in it, secrets are not. */
  async ensureOf(version: Version, place: Place, code: Code): Promise<Snapshot> {
    const bind = (instance: Instance): Promise<void> => this.#bind(instance, { version, code })
    return this.#ensure(functionKey(version, place), place, {
      kind: 'function',
      codeImage: code.image,
      prepare: bind,
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
    const state = this.#states.get(stateKey)
    if (state === undefined) return true
    return 'retryAtMs' in state && this.#options.clock.monotonicMs() >= state.retryAtMs
  }

  /** A snapshot that could not be restored serves no more; a later start makes it anew. */
  async failed(place: Place, snapshot: Snapshot, error: unknown): Promise<void> {
    const why = error instanceof Error ? error.message : String(error)
    for (const [key, state] of this.#states)
      if ('snapshot' in state && state.snapshot.id === snapshot.id) this.#states.set(key, { why, retryAtMs: 0 })
    this.#options.logger.warn('snapshot.failed', { snapshot: snapshot.id, kind: snapshot.kind, why })
    await this.#remove(place, snapshot)
  }

  /** Forgets and removes the function snapshot of `version`. */
  async forgetOf(version: Version, place: Place): Promise<void> {
    const key = functionKey(version, place)
    const state = this.#states.get(key)
    this.#states.delete(key)
    if (state !== undefined && 'snapshot' in state) await this.#remove(place, state.snapshot)
  }

  #ensure(stateKey: string, place: Place, recipe: Recipe): Promise<Snapshot> {
    const state = this.#states.get(stateKey)
    if (state !== undefined && 'snapshot' in state) return Promise.resolve(state.snapshot)
    if (state !== undefined && 'making' in state) return state.making
    const making = this.#findOrMake(stateKey, place, recipe)
    this.#states.set(stateKey, { making, why: state?.why ?? null })
    making.then(
      (snapshot) => this.#states.set(stateKey, { snapshot }),
      (error: unknown) => {
        const why = error instanceof Error ? error.message : String(error)
        this.#states.set(stateKey, { why, retryAtMs: this.#options.clock.monotonicMs() + retryMs })
        this.#options.logger.warn('snapshot.make.failed', { kind: recipe.kind, place: place.key, why })
      },
    )
    return making
  }

  async #findOrMake(stateKey: string, place: Place, recipe: Recipe): Promise<Snapshot> {
    const { driver, build: runtime, memoryMib } = place
    const own = await driver.snapshotKey?.({ runtime, memoryMib, codeImage: recipe.codeImage })
    // The same code may be of several Versions: what came of it in memory is of one.
    const key = own === undefined || recipe.kind === 'runtime' ? own : { ...own, function: digestOf(stateKey) }
    if (key === undefined) throw new AppError('driver_failed', `Driver ${driver.name} has no snapshots.`)
    const found = await this.#take(place, recipe, key)
    if (found.snapshot !== null) return found.snapshot
    // From here on receipts say why there is none yet.
    const state = this.#states.get(stateKey)
    if (state !== undefined && 'making' in state) this.#states.set(stateKey, { ...state, why: found.why })
    return this.#make(place, recipe, key)
  }

  /** One of those found at the start, if its key is still right; a near one that is not is removed, and says why. */
  async #take(place: Place, recipe: Recipe, key: SnapshotKey): Promise<Usable> {
    const near = this.#found.filter(
      (each) => each.driver === place.driver.name && each.kind === recipe.kind && each.memoryMib === place.memoryMib,
    )
    const snapshot = near.find((each) => snapshotRefusal(each.key, key) === null)
    if (snapshot !== undefined) {
      this.#found = this.#found.filter((each) => each !== snapshot)
      return { snapshot, why: null }
    }
    // Of the same image, or the same code: that is the one this would have been.
    const isSame = (name: string) => (each: Snapshot) => each.key[name] === key[name]
    const before = near.filter(isSame('image')).filter(isSame('code')).find(isSame('function'))
    if (before === undefined) return nothing
    this.#found = this.#found.filter((each) => each !== before)
    const why = snapshotRefusal(before.key, key)
    this.#options.logger.info('snapshot.refused', { snapshot: before.id, why })
    await rm(before.folder, { recursive: true, force: true })
    return { snapshot: null, why }
  }

  async #make(place: Place, recipe: Recipe, key: SnapshotKey): Promise<Snapshot> {
    const { clock, logger, boot, folder, newToken } = this.#options
    const fromMs = clock.monotonicMs()
    const saveTo = join(folder, `${recipe.kind}-${newToken().slice(0, 16)}`)
    const undo = new Undo()
    try {
      undo.add('folder', () => rm(saveTo, { recursive: true, force: true }))
      const instance = await boot(place, { kind: 'boot', why: null, saveTo })
      undo.add('instance', async () => void (await instance.kill()))
      // Before BIND a PING lets the runtime warm up, once for all clones; the second one is answered when that is done.
      await instance.link.ping()
      await instance.link.ping()
      await recipe.prepare(instance)
      await instance.link.prepareSnapshot()
      const snapshot = await place.driver.snapshot?.(instance.sandbox, { folder: saveTo, kind: recipe.kind, key })
      if (snapshot === undefined) throw new AppError('driver_failed', `Driver ${place.driver.name} has no snapshots.`)
      undo.add('memory', async () => place.driver.forgetSnapshot?.(snapshot))
      await instance.kill()
      const savedMs = clock.monotonicMs()
      await this.#check(place, recipe, snapshot)
      await writeFile(join(saveTo, checkedMark), '', { flush: true })
      undo.disarm()
      const [makeMs, checkMs] = [savedMs - fromMs, clock.monotonicMs() - savedMs]
      logger.info('snapshot.made', { snapshot: snapshot.id, kind: snapshot.kind, place: place.key, makeMs, checkMs })
      return snapshot
    } catch (error) {
      await undo.run().catch((cause: unknown) => logger.error('snapshot.undo.failed', { error: String(cause) }))
      throw error
    }
  }

  /** Two clones at a time must differ in all that makes an Instance one of its own. */
  async #check(place: Place, recipe: Recipe, snapshot: Snapshot): Promise<void> {
    const clone = async (): Promise<Drawn> => {
      const instance = await this.#options.boot(place, { kind: 'restore', snapshot, codeImage: recipe.codeImage })
      try {
        await recipe.bindClone(instance)
        return await drawIdentity(instance, this.#options.clock)
      } finally {
        await instance.kill()
      }
    }
    const [one, two] = await Promise.all([clone(), clone()])
    const fault = cloneFault([one, two])
    if (fault !== null)
      throw new AppError('guest_failed', `The ${snapshot.kind} snapshot must not serve: ${fault}.`, {
        detail: place.key,
      })
  }

  /** The protocol wants a BIND before an INVOKE; with purpose `compile` it loads nothing. */
  async #bindNothing(instance: Instance): Promise<void> {
    const files = { taskRoot: '/var/task', cacheRoot: null }
    await ready(instance, this.#options.clock, () =>
      instance.link.bind({
        function: 'snapshot',
        version: '0',
        project: 'hearth',
        handler: 'none.none',
        memoryMib: 128,
        timeoutMs: 1_000,
        env: {},
        ...files,
        ...this.#options.names,
        logGroup: '/hearth/snapshot',
        logStream: instance.id,
        purpose: 'compile',
      }),
    )
  }

  async #bind(instance: Instance, { version, code }: { version: Version; code: Code }): Promise<void> {
    const files = await instance.sandbox.bind(bindSpec(version, code))
    const { names, clock } = this.#options
    // Without the secrets: what is in a snapshot is in every clone, and on disk.
    const message = bindMessage(version, { instance: instance.id, files, secretEnv: null, names, purpose: 'serve' })
    await ready(instance, clock, () => instance.link.bind(message))
  }

  async #remove(place: Place, snapshot: Snapshot): Promise<void> {
    await place.driver.forgetSnapshot?.(snapshot).catch((error: unknown) => {
      this.#options.logger.warn('snapshot.forget.failed', { snapshot: snapshot.id, error: String(error) })
    })
    await rm(snapshot.folder, { recursive: true, force: true })
  }
}

interface Recipe {
  readonly kind: SnapshotKind
  readonly codeImage: string | null
  readonly prepare: (instance: Instance) => Promise<void>
  readonly bindClone: (instance: Instance) => Promise<void>
}

function usableOf(state: State | undefined): Usable {
  if (state === undefined) return nothing
  if ('snapshot' in state) return { snapshot: state.snapshot, why: null }
  return { snapshot: null, why: state.why }
}

/** What is in a function snapshot, or decides how it came about. Not when the Version was stored: it is made before that. */
export function functionKey(version: Version, place: Place): string {
  const { codeDigest, config } = version
  return [versionKey(version), codeDigest, config.handler, JSON.stringify(config.env), place.key].join(' ')
}

function digestOf(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 32)
}

/** Resolves at READY after `bind`; rejects with guest_failed when the code does not load. */
function ready(instance: Instance, clock: Clock, bind: () => void): Promise<void> {
  return new Promise((resolve, reject) => {
    const fail = (why: string): void => {
      timer.cancel()
      reject(new AppError('guest_failed', `Cannot take a snapshot: ${why}.`))
    }
    const timer = clock.schedule(readyMsMax, () => fail(`the code did not load within ${readyMsMax} ms`))
    instance.owner = {
      onLoaded: () => {
        timer.cancel()
        resolve()
      },
      onLoadFailed: (_instance, { errorType, errorMessage }) => fail(`${errorType}: ${errorMessage}`),
      onDead: (_instance, { exit, breach }) => fail(breach ?? `the guest ended (${exit?.signal ?? exit?.code})`),
      onQuiet: () => {},
    }
    bind()
  })
}

async function readSnapshot(folder: string): Promise<Snapshot | null> {
  try {
    const snapshot: Snapshot = JSON.parse(await readFile(join(folder, 'snapshot.json'), 'utf8'))
    await access(join(folder, checkedMark))
    // The data folder may have moved since.
    return { ...snapshot, folder }
  } catch {
    return null
  }
}
