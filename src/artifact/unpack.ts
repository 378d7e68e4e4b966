import { AppError } from '../domain/error.ts'
import { fsyncFolder } from './durable.ts'
import { parseLinkTarget } from './link-target.ts'
import { refuseEntry } from './refusal.ts'
import { planZip } from './zip-plan.ts'
import type { PlannedFile } from './zip-plan.ts'
import {
  closeSync,
  constants,
  createReadStream,
  fchmodSync,
  fdatasync,
  mkdirSync,
  openSync,
  chmodSync,
  readSync,
  symlinkSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { promisify } from 'node:util'
import { crc32, createInflateRaw, inflateRawSync } from 'node:zlib'

export interface Unpacked {
  readonly bytes: number
  readonly entries: number
}

/** Files up to this size are inflated whole in one call (2-3 times as fast as a stream); larger ones in pieces, so that the thread's
 *  memory stays at tens of MiB. */
const wholeBytesMax = 4 * 1024 * 1024

/** fdatasyncs in flight: the thread pool has 4 threads, and each waits for the disk. */
const syncsMax = 32

const datasync = promisify(fdatasync)

/** Unpacks the zip at `archive` into the new folder `target`; every file and folder is on disk when it resolves. Runs in a worker
 *  thread. The caller removes `target` when it throws. Throws invalid, naming the entry, the limit and the fix. */
export async function unpackZip(archive: string, target: string): Promise<Unpacked> {
  const fd = openSync(archive, 'r')
  try {
    const { folders, files, bytes } = await planZip(fd)
    const links = files.filter(({ isLink }) => isLink).map((link) => ({ path: link.path, leadsTo: readLink(fd, link) }))
    makeFolders(target, folders)
    const plain = files.filter(({ isLink }) => !isLink)
    await writeFiles(fd, target, plain)
    // After the files: while one is written, nothing in the tree leads anywhere.
    for (const { path, leadsTo } of links) symlinkSync(leadsTo, join(target, path))
    for (const folder of [target, ...folders.map((path) => join(target, path))]) await fsyncFolder(folder)
    return { bytes, entries: files.length + folders.length }
  } finally {
    closeSync(fd)
  }
}

function makeFolders(target: string, folders: readonly string[]): void {
  mkdirSync(target)
  chmodSync(target, 0o755)
  for (const path of folders) {
    mkdirSync(join(target, path))
    // mkdir's own mode is cut by the umask.
    chmodSync(join(target, path), 0o755)
  }
}

async function writeFiles(fd: number, target: string, files: readonly PlannedFile[]): Promise<void> {
  const syncs = new Set<Promise<void>>()
  try {
    for (const file of files) {
      const output = openSync(
        join(target, file.path),
        constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW,
        0o600,
      )
      try {
        await writeFile(fd, output, file)
        fchmodSync(output, file.isExecutable ? 0o755 : 0o644)
      } catch (error) {
        closeSync(output)
        throw error
      }
      const sync = datasync(output).finally(() => closeSync(output))
      syncs.add(sync)
      void sync.then(
        () => syncs.delete(sync),
        () => undefined,
      )
      if (syncs.size >= syncsMax) await Promise.race(syncs)
    }
  } finally {
    await Promise.all(syncs)
  }
}

async function writeFile(fd: number, output: number, file: PlannedFile): Promise<void> {
  const isWhole = file.bytes <= wholeBytesMax && file.compressedBytes <= wholeBytesMax
  const sum = isWhole ? writeWhole(fd, output, file) : await writeInPieces(fd, output, file)
  if (sum !== file.crc32) throw refuseEntry(file.path, damaged, uploadAgain)
}

const damaged = 'its content is damaged (wrong checksum)'
const uploadAgain = 'Rebuild the zip and upload it again.'

function writeWhole(fd: number, output: number, file: PlannedFile): number {
  const content = readWhole(fd, file)
  writeFully(output, content)
  return crc32(content)
}

function readLink(fd: number, link: PlannedFile): string {
  if (Math.max(link.bytes, link.compressedBytes) > wholeBytesMax)
    throw refuseEntry(link.path, `it is a symbolic link of ${link.bytes} bytes`, uploadAgain)
  const content = readWhole(fd, link)
  if (crc32(content) !== link.crc32) throw refuseEntry(link.path, damaged, uploadAgain)
  return parseLinkTarget(link.path, content)
}

function readWhole(fd: number, file: PlannedFile): Buffer {
  const packed = Buffer.allocUnsafe(file.compressedBytes)
  let read = 0
  while (read < packed.length) {
    const count = readSync(fd, packed, read, packed.length - read, file.dataStart + read)
    if (count === 0) throw refuseEntry(file.path, 'its data is cut off', uploadAgain)
    read += count
  }
  const content = file.isDeflated ? inflateWhole(packed, file) : packed
  if (content.length !== file.bytes) throw refuseLyingSize(file)
  return content
}

function inflateWhole(packed: Buffer, file: PlannedFile): Buffer {
  try {
    // At least 1, which is the least zlib takes; the length is compared afterwards.
    return inflateRawSync(packed, { maxOutputLength: Math.max(1, file.bytes) })
  } catch (error) {
    throw explainInflate(error, file)
  }
}

async function writeInPieces(fd: number, output: number, file: PlannedFile): Promise<number> {
  let sum = 0
  let written = 0
  const sink = async (pieces: AsyncIterable<Buffer>): Promise<void> => {
    for await (const piece of pieces) {
      written += piece.length
      if (written > file.bytes) throw refuseLyingSize(file)
      sum = crc32(piece, sum)
      writeFully(output, piece)
    }
  }
  const source = createReadStream('', {
    fd,
    autoClose: false,
    start: file.dataStart,
    end: file.dataStart + file.compressedBytes - 1,
    highWaterMark: 256 * 1024,
  })
  try {
    if (file.isDeflated) await pipeline(source, createInflateRaw({ chunkSize: 256 * 1024 }), sink)
    else await pipeline(source, sink)
  } catch (error) {
    throw explainInflate(error, file)
  }
  if (written !== file.bytes) throw refuseLyingSize(file)
  return sum
}

function explainInflate(error: unknown, file: PlannedFile): unknown {
  if (error instanceof AppError || !(error instanceof Error) || !('code' in error)) return error
  if (error.code === 'ERR_BUFFER_TOO_LARGE') return refuseLyingSize(file)
  const isZlib = typeof error.code === 'string' && error.code.startsWith('Z_')
  return isZlib ? refuseEntry(file.path, `its data is damaged (${error.message})`, uploadAgain) : error
}

function refuseLyingSize(file: PlannedFile): AppError {
  return refuseEntry(file.path, `it does not unpack to the ${file.bytes} bytes that it claims`, uploadAgain)
}

function writeFully(output: number, content: Buffer): void {
  let written = 0
  while (written < content.length) written += writeSync(output, content, written)
}
