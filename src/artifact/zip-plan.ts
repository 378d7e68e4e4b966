import { AppError } from '../domain/error.ts'
import { limits } from '../domain/limits.ts'
import { mib } from '../domain/too-large.ts'
import { parseEntryPath } from './entry-path.ts'
import { refuseArchive, refuseEntry } from './refusal.ts'
import { TreePlan } from './tree-plan.ts'
import { fstatSync, readSync } from 'node:fs'
import yauzl from 'yauzl'
import type { Entry, ZipFile } from 'yauzl'

/** One file to write: where its bytes lie in the archive and what must come out. */
export interface PlannedFile {
  readonly path: string
  readonly isExecutable: boolean
  /** A symbolic link: its content is where it leads. */
  readonly isLink: boolean
  readonly isDeflated: boolean
  readonly dataStart: number
  readonly compressedBytes: number
  readonly bytes: number
  readonly crc32: number
}

export interface ZipPlan {
  /** Parents before children. */
  readonly folders: readonly string[]
  readonly files: readonly PlannedFile[]
  readonly bytes: number
}

/** Reads the directory of the zip open at `fd` and checks all of it before a byte is written. Every number in an archive is a claim:
 *  the totals refused here are checked again while unpacking. Runs in a worker thread, with synchronous reads.
 *  Throws invalid, naming the entry, the limit and the fix. */
export async function planZip(fd: number): Promise<ZipPlan> {
  const archiveBytes = fstatSync(fd).size
  const zip = await openZip(fd, archiveBytes)
  const directoryStart = cursorOf(zip)
  refuseCount(zip.entryCount)
  const tree = new TreePlan()
  const files: PlannedFile[] = []
  const ranges: Range[] = []
  let bytes = 0
  for await (const entry of entriesOf(zip)) {
    const { path, isFolder } = parseEntryPath(entry.fileNameRaw)
    const { isExecutable, isLink } = parseMode(entry, { path, isFolder })
    refuseMethod(entry, path)
    const dataStart = readLocalHeader(fd, entry, path)
    ranges.push({ path, start: entry.relativeOffsetOfLocalHeader, end: dataStart + entry.compressedSize })
    if (isFolder) {
      if (entry.uncompressedSize > 0) throw refuseEntry(`${path}/`, 'it is a folder with content', rebuildFix)
      tree.addFolder(path)
      continue
    }
    bytes += entry.uncompressedSize
    refuseTotal(path, bytes, archiveBytes)
    tree.addFile(path)
    files.push({
      path,
      isExecutable,
      isLink,
      isDeflated: entry.compressionMethod === deflated,
      dataStart,
      compressedBytes: entry.compressedSize,
      bytes: entry.uncompressedSize,
      crc32: entry.crc32,
    })
  }
  refuseHiddenEntries(fd, cursorOf(zip))
  refuseOverlap(ranges, directoryStart)
  if (files.length === 0) throw refuseArchive('it holds no files', 'Put the code into it.')
  return { folders: tree.folders, files, bytes }
}

const stored = 0
const deflated = 8
const rebuildFix = 'Rebuild the zip.'

async function openZip(fd: number, archiveBytes: number): Promise<ZipFile> {
  if (archiveBytes === 0) throw refuseArchive('it is empty (0 bytes)', 'Upload a zip of the code.')
  try {
    return await yauzl.fromRandomAccessReaderPromise(new WindowReader(fd), archiveBytes, {
      decodeStrings: false,
      autoClose: false,
    })
  } catch (error) {
    const head = Buffer.alloc(4)
    readSync(fd, head, 0, 4, 0)
    if (head.readUInt32LE(0) !== localHeaderSignature && head.readUInt32LE(0) !== endSignature) {
      throw refuseArchive('it is not a zip archive', 'Upload a zip of the code.')
    }
    throw refuseArchive(`the zip is truncated or damaged (${messageOf(error)})`, 'Rebuild it and upload it again.')
  }
}

/** yauzl's own checks speak of no entry: they get the archive's words. */
async function* entriesOf(zip: ZipFile): AsyncGenerator<Entry> {
  try {
    for await (const entry of zip.eachEntry()) yield entry
  } catch (error) {
    if (error instanceof AppError) throw error
    throw refuseArchive(`the zip is damaged (${messageOf(error)})`, 'Rebuild it and upload it again.')
  }
}

/** Where yauzl reads the directory next (its type says boolean, its code holds a position). */
function cursorOf(zip: ZipFile): number {
  return Number(zip.readEntryCursor)
}

/** A directory longer than its declared count shows other readers more files than it shows us. */
function refuseHiddenEntries(fd: number, directoryEnd: number): void {
  const next = Buffer.alloc(4)
  readSync(fd, next, 0, 4, directoryEnd)
  if (next.readUInt32LE(0) === directoryHeaderSignature) {
    throw refuseArchive('its directory holds more entries than it declares', rebuildFix)
  }
}

function refuseCount(entries: number): void {
  const { entriesMax } = limits.archive
  if (entries <= entriesMax) return
  throw refuseArchive(
    `it has ${entries} entries, the limit is ${entriesMax}`,
    'Bundle the code into fewer files, or leave out what it does not need.',
  )
}

/** Below this a high ratio is no bomb but a file of blanks. */
const ratioFloorBytes = 1024 * 1024

function refuseTotal(path: string, bytes: number, archiveBytes: number): void {
  const { unpackedBytesMax, ratioMax } = limits.archive
  if (bytes > unpackedBytesMax) {
    const problem = `with it the archive unpacks to ${mib(bytes)}, the limit is ${mib(unpackedBytesMax)}`
    throw refuseEntry(path, problem, 'Leave out what the code does not need.')
  }
  if (bytes > ratioFloorBytes && bytes > archiveBytes * ratioMax) {
    const problem = `with it the archive unpacks to ${mib(bytes)}, over ${ratioMax} times its own size, which is the limit`
    throw refuseEntry(path, problem, 'Leave out files made of repetitions; let the function create them.')
  }
}

const typeMask = 0o170000
const typeFile = 0o100000
const typeFolder = 0o040000
const typeLink = 0o120000

interface Mode {
  readonly isExecutable: boolean
  readonly isLink: boolean
}

/** Of an entry's mode the executable bit is kept, and whether it is a link; a device or a socket is refused. */
function parseMode(entry: Entry, { path, isFolder }: { path: string; isFolder: boolean }): Mode {
  const mode = entry.externalFileAttributes >>> 16
  const type = mode & typeMask
  const isLink = type === typeLink && !isFolder
  const expected = isFolder ? typeFolder : typeFile
  if (type !== 0 && type !== expected && !isLink) {
    const problem =
      type === typeFolder || type === typeFile ? 'it is both a file and a folder' : 'it is a device or socket'
    throw refuseEntry(path, problem, 'Rebuild the zip with plain files and folders.')
  }
  return { isExecutable: !isLink && (mode & 0o111) !== 0, isLink }
}

const encryptedFlag = 1

function refuseMethod(entry: Entry, path: string): void {
  if ((entry.generalPurposeBitFlag & encryptedFlag) !== 0) {
    throw refuseEntry(path, 'it is encrypted', 'Rebuild the zip without a password.')
  }
  if (entry.compressionMethod !== stored && entry.compressionMethod !== deflated) {
    const problem = `its compression method ${entry.compressionMethod} is not supported`
    throw refuseEntry(path, problem, 'Rebuild the zip with the usual "deflate".')
  }
}

const localHeaderSignature = 0x04034b50
const directoryHeaderSignature = 0x02014b50
const endSignature = 0x06054b50
const localHeaderBytes = 30

/** The data's start, from the header in front of it, which must carry the directory's name: two readers of one archive must not see
 *  different files. */
function readLocalHeader(fd: number, entry: Entry, path: string): number {
  const start = entry.relativeOffsetOfLocalHeader
  const header = Buffer.alloc(localHeaderBytes + entry.fileNameRaw.length)
  const count = readSync(fd, header, 0, header.length, start)
  const isComplete = count === header.length && header.readUInt32LE(0) === localHeaderSignature
  if (!isComplete) throw refuseEntry(path, 'its data is missing', 'Rebuild the zip and upload it again.')
  const nameBytes = header.readUInt16LE(26)
  const isSameName =
    nameBytes === entry.fileNameRaw.length && header.subarray(localHeaderBytes).equals(entry.fileNameRaw)
  if (!isSameName) throw refuseEntry(path, 'it has another name in front of its data', rebuildFix)
  return start + localHeaderBytes + nameBytes + header.readUInt16LE(28)
}

interface Range {
  readonly path: string
  readonly start: number
  readonly end: number
}

/** Entries that share bytes are how a small archive claims to hold a large one without a high ratio in any entry. */
function refuseOverlap(ranges: Range[], directoryStart: number): void {
  ranges.sort((a, b) => a.start - b.start)
  let end = 0
  for (const range of ranges) {
    if (range.start < end || range.end > directoryStart) {
      throw refuseEntry(range.path, 'its data overlaps that of another entry', rebuildFix)
    }
    end = range.end
  }
}

/** Reads for yauzl through a 256 KiB window: it asks for the directory piecemeal, two reads an entry. */
class WindowReader extends yauzl.RandomAccessReader {
  readonly #fd: number
  readonly #window = Buffer.alloc(256 * 1024)
  #start = 0
  #length = 0

  constructor(fd: number) {
    super()
    this.#fd = fd
  }

  override read(
    buffer: Buffer,
    offset: number,
    length: number,
    position: number,
    callback: (error: Error | null, bytesRead?: number) => void,
  ): void {
    if (position < this.#start || position + length > this.#start + this.#length) {
      this.#start = position
      this.#length = readSync(this.#fd, this.#window, 0, this.#window.length, position)
    }
    const from = position - this.#start
    if (length > this.#window.length) return callback(null, readSync(this.#fd, buffer, offset, length, position))
    callback(null, this.#window.copy(buffer, offset, from, Math.min(from + length, this.#length)))
  }
}

function messageOf(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).replace(/\.$/, '')
}
