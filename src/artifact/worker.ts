import { stepBack } from '../domain/background.ts'
import { toPlainError } from '../domain/plain-error.ts'
import type { PlainError } from '../domain/plain-error.ts'
import { explainDiskError, fsyncFolder } from './durable.ts'
import { flattenImage, type Flattened } from './oci/flatten.ts'
import { unpackZip } from './unpack.ts'
import type { Unpacked } from './unpack.ts'
import { createHash } from 'node:crypto'
import { closeSync, openSync, readSync, type Dirent } from 'node:fs'
import { open, readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { parentPort } from 'node:worker_threads'

/** Work that would hold up an event loop, done here. */
const jobs = {
  hash: async ({ file }: { file: string }): Promise<string> => hashFile(file),
  unpack: ({ archive, target }: { archive: string; target: string }): Promise<Unpacked> => unpackZip(archive, target),
  flatten: (input: Parameters<typeof flattenImage>[0]): Promise<Flattened> => flattenImage(input),
  measure: ({ folder }: { folder: string }): Promise<Unpacked> => measureTree(folder),
  sync: ({ folder }: { folder: string }): Promise<void> => syncTree(folder),
} as const

export type JobName = keyof typeof jobs
export type JobInput<Name extends JobName> = Parameters<(typeof jobs)[Name]>[0]
export type JobResult<Name extends JobName> = Awaited<ReturnType<(typeof jobs)[Name]>>
export interface JobRequest {
  readonly name: JobName
  readonly input: unknown
}
export type JobReply = { readonly result: unknown } | { readonly error: PlainError }

if (parentPort !== null) stepBack()
parentPort?.on('message', (request: JobRequest) => {
  void run(request).then((reply) => parentPort?.postMessage(reply))
})

async function run({ name, input }: JobRequest): Promise<JobReply> {
  try {
    return { result: await Reflect.apply(jobs[name], undefined, [input]) }
  } catch (error) {
    return { error: toPlainError(explainDiskError(error)) }
  }
}

const pieceBytes = 1024 * 1024

function hashFile(file: string): string {
  const hash = createHash('sha256')
  const piece = Buffer.allocUnsafe(pieceBytes)
  const fd = openSync(file, 'r')
  try {
    for (let count = -1; count !== 0;) {
      count = readSync(fd, piece)
      hash.update(piece.subarray(0, count))
    }
  } finally {
    closeSync(fd)
  }
  return hash.digest('hex')
}

async function measureTree(folder: string): Promise<Unpacked> {
  let [bytes, entries] = [0, 0]
  for await (const entry of entriesBelow(folder)) {
    entries++
    if (entry.isFile()) bytes += (await stat(join(entry.parentPath, entry.name))).size
  }
  return { bytes, entries }
}

/** Not by readdir's own recursion, which follows links: those of an image lead anywhere. */
async function* entriesBelow(folder: string): AsyncGenerator<Dirent> {
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    yield entry
    if (entry.isDirectory()) yield* entriesBelow(join(folder, entry.name))
  }
}

async function syncTree(folder: string): Promise<void> {
  for await (const entry of entriesBelow(folder)) {
    const path = join(entry.parentPath, entry.name)
    if (entry.isDirectory()) await fsyncFolder(path)
    if (!entry.isFile()) continue
    const handle = await open(path, 'r')
    await handle.sync().finally(() => handle.close())
  }
  await fsyncFolder(folder)
}
