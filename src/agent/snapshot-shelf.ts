import { mkdir, open, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Digest } from '../domain/artifact.ts'
import type { Logger } from '../domain/logger.ts'
import { snapshotRefusal, type Snapshot, type SnapshotKey } from '../domain/snapshot.ts'
import { parseMark, parseSnapshot } from './snapshot-file.ts'
import { isDeepStrictEqual } from 'node:util'

/** What a snapshot was made for. */
export interface SnapshotSubject {
  /** `versionKey` of the Version whose code is in it; null for a runtime snapshot. */
  readonly owner: string | null
  /** Id of the runtime and digest of its build. */
  readonly runtime: string
  readonly build: Digest
}

/** What would be made now, if it is not there. */
export interface WantedSnapshot extends SnapshotSubject, Pick<Snapshot, 'driver' | 'kind' | 'memoryMib'> {
  readonly key: SnapshotKey
  /** This node still has the interpreter. */
  readonly hasBuild: (build: Digest) => boolean
}

interface Found {
  readonly snapshot: Snapshot
  readonly subject: SnapshotSubject
}

/** In the folder of a snapshot whose clones were compared, with its subject: without it, it was about to be. */
const checkedMark = 'checked'

/** The snapshots that an earlier platform left, until somebody asks for them. */
export class SnapshotShelf {
  readonly #folder: string
  readonly #logger: Logger
  #found: Found[] = []

  constructor(folder: string, logger: Logger) {
    this.#folder = folder
    this.#logger = logger
  }

  /** What is half made or damaged is removed. */
  async open(): Promise<void> {
    await mkdir(this.#folder, { recursive: true, mode: 0o700 })
    for (const name of await readdir(this.#folder)) {
      const folder = join(this.#folder, name)
      const found = await readFound(folder)
      if (found !== null) this.#found.push(found)
      else await this.#remove(folder, { name, why: 'incomplete' })
    }
  }

  /** Waits for the disk: VMMs write memory by mapping it, and a machine that loses its power must not keep the half of it. 84 MiB take 0.1 to 1 s. */
  async sync(folder: string): Promise<void> {
    for (const name of await readdir(folder)) {
      const file = await open(join(folder, name))
      await file.sync().finally(() => file.close())
    }
  }

  /** From here on the snapshot in `folder`, which is on disk, may serve, also after a restart. */
  async put(folder: string, subject: SnapshotSubject): Promise<void> {
    const mark = { ...subject, files: await sizesIn(folder) }
    await writeFile(join(folder, checkedMark), JSON.stringify(mark), { flush: true })
  }

  /** The one whose key is right. Others that this would have been are removed, and say why. */
  async take(wanted: WantedSnapshot): Promise<{ snapshot: Snapshot | null; why: string | null }> {
    const near = this.#found.filter((each) => isSameSubject(each, wanted))
    const right = near.find(({ snapshot }) => snapshotRefusal(snapshot.key, wanted.key) === null)
    const stale = near.filter((each) => each !== right).toSorted((a, b) => b.snapshot.createdAt - a.snapshot.createdAt)
    this.#found = this.#found.filter((each) => !near.includes(each))
    const reasons: string[] = []
    for (const { snapshot } of stale) {
      const why = snapshotRefusal(snapshot.key, wanted.key) ?? 'it is there twice'
      this.#logger.info('snapshot.refused', { snapshot: snapshot.id, kind: snapshot.kind, why })
      await this.#remove(snapshot.folder, { name: snapshot.id, why })
      reasons.push(why)
    }
    return right === undefined ? { snapshot: null, why: reasons[0] ?? null } : { snapshot: right.snapshot, why: null }
  }

  owners(): readonly string[] {
    return this.#found.flatMap(({ subject }) => subject.owner ?? [])
  }

  async forget(owner: string): Promise<void> {
    const gone = this.#found.filter(({ subject }) => subject.owner === owner)
    this.#found = this.#found.filter((each) => !gone.includes(each))
    for (const { snapshot } of gone) await this.#remove(snapshot.folder, { name: snapshot.id, why: 'forgotten' })
  }

  async #remove(folder: string, about: { name: string; why: string }): Promise<void> {
    this.#logger.info('snapshot.removed', about)
    await rm(folder, { recursive: true, force: true })
  }
}

/** The same Version; or the same runtime at the same size, by its very build or by one that an update of the machine replaced. */
function isSameSubject({ snapshot, subject }: Found, wanted: WantedSnapshot): boolean {
  if (snapshot.driver !== wanted.driver || snapshot.kind !== wanted.kind) return false
  if (snapshot.kind === 'function') return subject.owner === wanted.owner
  if (snapshot.memoryMib !== wanted.memoryMib || subject.runtime !== wanted.runtime) return false
  return subject.build === wanted.build || !wanted.hasBuild(subject.build)
}

/** Null for one that is half made or damaged. */
async function readFound(folder: string): Promise<Found | null> {
  try {
    const snapshot = parseSnapshot(await readFile(join(folder, 'snapshot.json'), 'utf8'), folder)
    const { files, ...subject } = parseMark(await readFile(join(folder, checkedMark), 'utf8'))
    return isDeepStrictEqual(files, await sizesIn(folder)) ? { snapshot, subject } : null
  } catch {
    return null
  }
}

/** Bytes of each file but the mark. */
async function sizesIn(folder: string): Promise<Readonly<Record<string, number>>> {
  const names = (await readdir(folder)).filter((name) => name !== checkedMark).toSorted()
  const sizes = names.map(async (name) => [name, (await stat(join(folder, name))).size] as const)
  return Object.fromEntries(await Promise.all(sizes))
}
