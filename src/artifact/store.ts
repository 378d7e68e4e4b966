import type { Artifact, ArtifactStore, DerivedFrom, Digest, PutOptions, StoredDigest } from '../domain/artifact.ts'
import type { ContainerRoot } from '../domain/container-image.ts'
import { AppError } from '../domain/error.ts'
import type { Arch } from '../domain/function.ts'
import { ignoreMissing, isMissing } from '../domain/is-missing.ts'
import { limits } from '../domain/limits.ts'
import type { Logger } from '../domain/logger.ts'
import { DerivedFolders } from './derived-folders.ts'
import { exists, explainDiskError, fsyncFolder, refuseFullDisk } from './durable.ts'
import { hexOf, Layout } from './layout.ts'
import { readSidecar, sidecarOf } from './sidecar.ts'
import { hashing, sliced } from './streams.ts'
import { SingleFlight } from '../domain/single-flight.ts'
import { refuseTooLarge } from '../domain/too-large.ts'
import { Turns } from '../domain/turns.ts'
import type { Flattened } from './oci/flatten.ts'
import type { Unpacked } from './unpack.ts'
import { WorkerPool } from './worker-pool.ts'
import { createHash, randomUUID } from 'node:crypto'
import { mkdir, open, rename, rm, stat, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { pipeline } from 'node:stream'
import type { Readable } from 'node:stream'

export interface ArtifactStoreOptions {
  /** Holds everything below; nobody else writes there. */
  readonly folder: string
  readonly logger: Logger
}

/** Unpacking is bound by CPU and disk: two at a time keep a deploy from starving another without taking the machine. */
const threadsMax = 2

/** Opens the store in `folder`, clearing what a crash left half done:
 *
 *    blobs/sha256/ab/<hex>     the bytes, as uploaded
 *    trees/<hex>/              unpacked; <hex>.json beside it: how much must be there
 *    roots/<hex>/              the same of a container's image, laid flat
 *    derived/<hash of key>/    made from them (bytecode caches); <hash>.json beside it: from which
 *    tmp/                      under way; wiped here
 *
 *  A name outside tmp/ appears by rename, after its content was fsynced. */
export async function openArtifactStore({
  folder,
  logger,
}: ArtifactStoreOptions): Promise<ArtifactStore & { close(): Promise<void> }> {
  const store = new FolderArtifactStore(folder, logger)
  await store.prepare()
  return store
}

class FolderArtifactStore implements ArtifactStore {
  readonly #folder: string
  readonly #layout: Layout
  readonly #logger: Logger
  readonly #pool = new WorkerPool(threadsMax)
  readonly #unpacking = new SingleFlight<{ folder: string } & Unpacked>()
  readonly #flattening = new SingleFlight<ContainerRoot>()
  readonly #derived: DerivedFolders
  readonly #locks = new Turns()

  constructor(folder: string, logger: Logger) {
    this.#folder = folder
    this.#layout = new Layout(folder)
    this.#logger = logger
    this.#derived = new DerivedFolders({
      folder: this.#layout.derived,
      temporary: this.#layout.temporary,
      sync: async (made) => this.#pool.run('sync', { folder: made }),
      publish: async (draft, target) => this.#publish(draft, target),
    })
  }

  async prepare(): Promise<void> {
    await rm(this.#layout.temporary, { recursive: true, force: true })
    for (const name of ['blobs/sha256', 'trees', 'roots', 'derived', 'tmp']) {
      await mkdir(join(this.#folder, name), { recursive: true })
    }
    await fsyncFolder(this.#folder)
  }

  async put(source: Readable, options: PutOptions = {}): Promise<Artifact> {
    const draft = join(this.#layout.temporary, randomUUID())
    const { bytesExpected, bytesMax = limits.archive.bytesMax } = options
    if (bytesExpected !== undefined) {
      if (bytesExpected > bytesMax) throw refuseTooLarge(bytesMax)
      await refuseFullDisk(this.#folder, bytesExpected)
    }
    try {
      const artifact = await this.#receive(source, draft, options)
      if (options.expect !== undefined && options.expect !== artifact.digest) {
        throw new AppError(
          'invalid',
          `The uploaded bytes have digest "${artifact.digest}", not "${options.expect}". Upload them again.`,
          { field: 'digest', value: artifact.digest, allowed: options.expect },
        )
      }
      await this.#locks.run(artifact.digest, async () => {
        const blob = this.#layout.blob(artifact.digest)
        options.onDigest?.(artifact.digest, !(await exists(blob)))
        await this.#publish(draft, blob)
      })
      return artifact
    } catch (error) {
      await rm(draft, { force: true })
      throw explainDiskError(error)
    }
  }

  async stat(digest: Digest): Promise<Artifact | null> {
    await this.#locks.settled(digest)
    try {
      return { digest, bytes: (await stat(this.#layout.blob(digest))).size }
    } catch (error) {
      if (isMissing(error)) return null
      throw error
    }
  }

  async open(digest: Digest): Promise<Readable> {
    try {
      const handle = await open(this.#layout.blob(digest), 'r')
      const checked = hashing((actual) => (actual === hexOf(digest) ? null : damagedError(digest)))
      // The reader sees a failure as an error of the stream it holds; nothing else is left to do with it.
      return pipeline(handle.createReadStream({ highWaterMark: 256 * 1024 }), checked, () => undefined)
    } catch (error) {
      throw isMissing(error) ? notFound(digest) : error
    }
  }

  unpack(digest: Digest): Promise<{ folder: string } & Unpacked> {
    return this.#unpacking.run(digest, () =>
      this.#treeOnce(digest, {
        folder: this.#layout.tree(digest),
        read: unpackedOf,
        make: (archive, target) => this.#pool.run('unpack', { archive, target }),
      }),
    )
  }

  unpackImage(digest: Digest, arch: Arch): Promise<ContainerRoot> {
    return this.#flattening.run(digest, () =>
      this.#treeOnce(digest, {
        folder: this.#layout.tree(digest, 'roots'),
        read: flattenedOf,
        make: (archive, target) => this.#pool.run('flatten', { archive, target, draft: `${target}.parts`, arch }),
      }),
    )
  }

  derived(of: DerivedFrom, fill: (folder: string) => Promise<void>): Promise<string> {
    return this.#derived.get(of, fill)
  }

  async list(isMeant: (digest: Digest) => boolean): Promise<readonly StoredDigest[]> {
    const [trees, roots] = [await this.#layout.trees('trees'), await this.#layout.trees('roots')]
    const digests = new Set([...(await this.#layout.blobs()), ...trees, ...roots, ...(await this.#derived.sources())])
    const found: StoredDigest[] = []
    for (const digest of digests)
      if (isMeant(digest)) found.push({ digest, writtenAt: (await this.#layout.writtenAt(digest)) ?? 0 })
    return found
  }

  async verify(): Promise<{ digest: Digest; problem: string }[]> {
    const problems: { digest: Digest; problem: string }[] = []
    for (const digest of await this.#layout.blobs()) {
      const problem = await unlessGone(this.#layout.blob(digest), async (file) => this.#blobProblem(digest, file))
      if (problem !== undefined) problems.push({ digest, problem })
    }
    for (const kind of ['trees', 'roots'] as const)
      for (const digest of await this.#layout.trees(kind)) {
        const problem = await unlessGone(this.#layout.tree(digest, kind), async (folder) => this.#treeProblem(folder))
        if (problem !== undefined) problems.push({ digest, problem })
      }
    return problems
  }

  async delete(digest: Digest, isNeeded: () => Promise<boolean> = async () => false): Promise<void> {
    await this.#unpacking.settled(digest)
    await this.#flattening.settled(digest)
    await this.#locks.run(digest, async () => {
      if (!(await isNeeded())) await this.#remove(digest)
    })
  }

  async #remove(digest: Digest): Promise<void> {
    // Out of sight by rename first, so that nobody meets half a tree.
    const doomed = join(this.#layout.temporary, randomUUID())
    await mkdir(doomed)
    for (const folder of [this.#layout.tree(digest), this.#layout.tree(digest, 'roots')]) {
      await rename(folder, join(doomed, randomUUID())).catch(ignoreMissing)
      await rm(sidecarOf(folder), { force: true })
    }
    await this.#derived.remove(digest, doomed)
    await rm(this.#layout.blob(digest), { force: true })
    await rm(doomed, { recursive: true, force: true })
  }

  async close(): Promise<void> {
    await this.#pool.close()
  }

  /** Writes `source` to `draft` and hashes it on the way: slices of 256 KiB cost the event loop 0.13 ms each (2 GB/s). */
  async #receive(source: Readable, draft: string, options: PutOptions): Promise<Artifact> {
    const { bytesMax = limits.archive.bytesMax, isOwned = false } = options
    const hash = createHash('sha256')
    const handle = await open(draft, 'wx', 0o600)
    let bytes = 0
    try {
      for await (const slice of sliced(source, isOwned)) {
        bytes += slice.length
        if (bytes > bytesMax) throw refuseTooLarge(bytesMax)
        hash.update(slice)
        await writeSlice(handle, slice)
      }
      await handle.sync()
    } finally {
      await handle.close()
    }
    return { digest: `sha256:${hash.digest('hex')}`, bytes }
  }

  /** The tree of `digest` in `folder` with what its sidecar says of it; made when it is not there. */
  async #treeOnce<T extends Unpacked>(
    digest: Digest,
    kind: {
      folder: string
      read: (sidecar: Sidecar) => T | null
      make: (archive: string, target: string) => Promise<T>
    },
  ): Promise<{ folder: string } & T> {
    const { folder } = kind
    const known = kind.read((await readSidecar<Flattened>(folder)) ?? {})
    if (known !== null && (await exists(folder))) return { folder, ...known }
    if ((await this.stat(digest)) === null) throw notFound(digest)
    const archive = this.#layout.blob(digest)
    const startedMs = performance.now()
    if ((await this.#pool.run('hash', { file: archive })) !== hexOf(digest)) throw damagedError(digest)
    const draft = join(this.#layout.temporary, randomUUID())
    try {
      const made = await kind.make(archive, draft)
      await writeFile(`${draft}.json`, JSON.stringify(made), { flush: true })
      await this.#setAside(folder, `${draft}.old`)
      await this.#publish(`${draft}.json`, sidecarOf(folder))
      await this.#publish(draft, folder)
      await rm(`${draft}.old`, { recursive: true, force: true })
      const { bytes, entries } = made
      this.#logger.info('artifact.unpack.done', { digest, bytes, entries, unpackMs: performance.now() - startedMs })
      return { folder, ...made }
    } catch (error) {
      await rm(draft, { recursive: true, force: true })
      await rm(`${draft}.json`, { force: true })
      await rm(`${draft}.old`, { recursive: true, force: true })
      throw explainDiskError(error)
    }
  }

  /** A tree of which too little is known gives way to the one that is made anew: nothing is renamed over a folder that is not empty. Before the new
   *  sidecar is there, which must never speak for the old tree. */
  async #setAside(folder: string, aside: string): Promise<void> {
    const wasThere = await rename(folder, aside).then(() => true, ignoreMissing)
    if (wasThere === true) await fsyncFolder(dirname(folder))
  }

  /** The one place where something becomes visible. Its content is on disk already. */
  async #publish(draft: string, target: string): Promise<void> {
    const isNewFolder = (await mkdir(dirname(target), { recursive: true })) !== undefined
    if (isNewFolder) await fsyncFolder(dirname(dirname(target)))
    await rename(draft, target)
    await fsyncFolder(dirname(target))
  }

  async #blobProblem(digest: Digest, file: string): Promise<string | undefined> {
    const actual = await this.#pool.run('hash', { file })
    return actual === hexOf(digest) ? undefined : `the stored bytes have digest "sha256:${actual}"`
  }

  async #treeProblem(folder: string): Promise<string | undefined> {
    const expected = await readSidecar<Unpacked>(folder)
    const actual = await this.#pool.run('measure', { folder })
    if (expected?.bytes === undefined || expected.entries === undefined)
      return 'the unpacked tree has no record of what belongs to it'
    if (expected.bytes === actual.bytes && expected.entries === actual.entries) return undefined
    return (
      `the unpacked tree has ${actual.entries} entries and ${actual.bytes} bytes ` +
      `instead of ${expected.entries} and ${expected.bytes}`
    )
  }
}

/** Written by this store beside a tree; `facts` beside one that was an image. */
type Sidecar = Partial<Flattened>

/** Trees of images were among the others once. */
const unpackedOf = ({ bytes, entries, facts }: Sidecar): Unpacked | null =>
  bytes === undefined || entries === undefined || facts !== undefined ? null : { bytes, entries }

/** The image's user was not always told. */
const flattenedOf = ({ bytes, entries, facts }: Sidecar): Flattened | null =>
  bytes === undefined || entries === undefined || facts?.user === undefined ? null : { bytes, entries, facts }

function notFound(digest: Digest): AppError {
  return new AppError('not_found', `Artifact "${digest}" does not exist. Upload it first.`)
}

function damagedError(digest: Digest): AppError {
  return new AppError(
    'internal',
    `Artifact "${digest}" is damaged on disk. Upload the same bytes again to repair it.`,
    {
      retryable: false,
    },
  )
}

/** What is wrong with what is at `path`; nothing, when it was removed meanwhile. */
async function unlessGone(
  path: string,
  problem: (path: string) => Promise<string | undefined>,
): Promise<string | undefined> {
  try {
    const found = await problem(path)
    return found === undefined || (await exists(path)) ? found : undefined
  } catch (error) {
    if (await exists(path)) throw error
    return undefined
  }
}

async function writeSlice(handle: Awaited<ReturnType<typeof open>>, slice: Uint8Array): Promise<void> {
  let written = 0
  while (written < slice.length) written += (await handle.write(slice, written)).bytesWritten
}
