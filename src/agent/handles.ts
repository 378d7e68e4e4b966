import { constants } from 'node:fs'
import { mkdir, open, readdir, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Sandbox } from '../domain/driver.ts'
import type { Version } from '../domain/function.ts'
import type { Logger } from '../domain/logger.ts'
import { parseHandle } from './handle.ts'
import type { Instance } from './instance.ts'

/** What an agent must know of an Instance that an earlier one left. */
export interface InstanceHandle {
  readonly format: 1
  readonly instance: string
  readonly createdAt: number
  readonly version: Pick<Version, 'project' | 'functionName' | 'number' | 'createdAt' | 'codeDigest' | 'runtimeDigest'>
  /** Of the secrets it was bound with. */
  readonly secretsStamp: string
  /** What every attempt on it is recorded with. */
  readonly record: { readonly driver: string; readonly vmm: string | null; readonly snapshot: string | null }
  readonly sandbox: Sandbox['handle']
}

/** One Instance's handle as it was found: a refusal is a sentence. */
export type FoundHandle =
  | { readonly instance: string; readonly handle: InstanceHandle }
  | { readonly instance: string; readonly refusal: string }

const fileName = 'handle.json'
const bytesMax = 64 * 1024
/** A pipe in its place must not hold up the start, nor a link lead out of the folder. */
const readFlags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK

/** Handles of the Instances that can outlive this process: `<instances>/<id>/handle.json`, 0600 in a 0700 folder. Written when an Instance has loaded its
 *  Version, removed when it is dead; never while an invocation runs. Not synced: a machine does not outlive the host either. */
export class Handles {
  readonly #folder: string
  readonly #logger: Logger
  /** Last act of each Instance, so that none overtakes another. */
  readonly #acts = new Map<string, Promise<void>>()

  constructor(folder: string, logger: Logger) {
    this.#folder = folder
    this.#logger = logger
  }

  /** Begins to write down an Instance that has just loaded its Version. */
  keep(instance: Instance): void {
    const { version } = instance
    if (version === null) return
    const { project, functionName, number, createdAt, codeDigest, runtimeDigest } = version
    const handle: InstanceHandle = {
      format: 1,
      instance: instance.id,
      createdAt: instance.createdAt,
      version: { project, functionName, number, createdAt, codeDigest, runtimeDigest },
      secretsStamp: instance.secretsStamp,
      record: instance.from.record,
      sandbox: instance.sandbox.handle,
    }
    this.#act(instance.id, 'write', () => this.#write(handle))
    void instance.sandbox.exited.then((exit) => exit.isLost === true || this.remove(instance.id))
  }

  /** Forgets an Instance that is dead; its folder goes with it. */
  remove(instance: string): void {
    this.#act(instance, 'remove', () => rm(join(this.#folder, instance), { recursive: true, force: true }))
  }

  /** What an earlier agent left, whatever it is worth. */
  async read(): Promise<readonly FoundHandle[]> {
    const names = await readdir(this.#folder).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return []
      throw error
    })
    return Promise.all(names.filter((name) => /^i-[0-9a-z]{1,40}$/.test(name)).map((name) => this.#read(name)))
  }

  /** Resolves when everything that was begun is done. */
  async settled(): Promise<void> {
    await Promise.all(this.#acts.values())
  }

  async #read(instance: string): Promise<FoundHandle> {
    try {
      const file = await open(join(this.#folder, instance, fileName), readFlags)
      try {
        if (!(await file.stat()).isFile()) return { instance, refusal: 'its handle is no file' }
        const bytes = Buffer.alloc(bytesMax + 1)
        const { bytesRead } = await file.read(bytes, 0, bytes.length, 0)
        if (bytesRead > bytesMax) return { instance, refusal: `its handle is longer than ${bytesMax} bytes` }
        return { instance, handle: parseHandle(bytes.toString('utf8', 0, bytesRead), instance) }
      } finally {
        await file.close()
      }
    } catch (error) {
      const isMissing = error instanceof Error && 'code' in error && error.code === 'ENOENT'
      return {
        instance,
        refusal: isMissing ? 'it has no handle' : error instanceof Error ? error.message : String(error),
      }
    }
  }

  async #write(handle: InstanceHandle): Promise<void> {
    const folder = join(this.#folder, handle.instance)
    await mkdir(folder, { recursive: true, mode: 0o700 })
    const draft = join(folder, `${fileName}.new`)
    await writeFile(draft, `${JSON.stringify(handle)}\n`, { mode: 0o600 })
    await rename(draft, join(folder, fileName))
  }

  #act(instance: string, what: string, act: () => Promise<void>): void {
    const done = (this.#acts.get(instance) ?? Promise.resolve())
      .then(act)
      .catch((error: unknown) =>
        this.#logger.warn('instance.handle.failed', { instanceId: instance, what, error: String(error) }),
      )
      .finally(() => {
        if (this.#acts.get(instance) === done) this.#acts.delete(instance)
      })
    this.#acts.set(instance, done)
  }
}
