import { AppError } from '../domain/error.ts'
import { byBytes } from './by-bytes.ts'
import type { Tree } from './tree.ts'
import { createHash, hash } from 'node:crypto'
import { closeSync, constants, fstatSync, openSync, readdirSync, readlinkSync, readSync, type Dirent } from 'node:fs'
import path from 'node:path'

export interface WalkOptions {
  /** Folder on this machine. */
  readonly source: string
  /** Where it comes in the tree. */
  readonly target: string
  /** By path below `source`; what it refuses is left out, folders with all that is in them. */
  readonly wants?: (relative: string, entry: Dirent) => boolean
  /** Called with what cannot be in an image (devices, sockets, links that lead out of `source`), and why. Without it such things are errors. */
  readonly skipped?: (what: string) => void
  /** `source` is a whole file system: its links may lead anywhere. */
  readonly isRoot?: boolean
  /** Small files are kept in memory between being hashed and being written while this lasts; default: none are. */
  readonly keeping?: KeepBudget
}

export interface KeepBudget {
  bytesLeft: number
}

/** Adds the files, folders and links below `source` to `tree`, in the order of their names. Follows no link. Synchronous: for worker threads.
 *  Throws driver_failed, naming what cannot be in an image or cannot be read. */
export function addFolder(tree: Tree, options: WalkOptions): void {
  tree.folder(options.target)
  walk(tree, options, '')
}

function walk(tree: Tree, options: WalkOptions, below: string): void {
  const folder = path.join(options.source, below)
  const inside = [options.target, below].filter((part) => part !== '').join('/')
  for (const entry of entriesOf(folder)) {
    const relative = below === '' ? entry.name : `${below}/${entry.name}`
    if (options.wants?.(relative, entry) === false) continue
    const [source, target] = [`${folder}/${entry.name}`, inside === '' ? entry.name : `${inside}/${entry.name}`]
    const problem = problemOf(options, relative, entry)
    if (problem !== null) refuse(problem, source, options.skipped)
    else if (entry.isDirectory()) {
      tree.folder(target)
      walk(tree, options, relative)
    } else if (entry.isSymbolicLink()) tree.link(target, readlinkSync(source))
    else addFile(tree, source, target, options.keeping)
  }
}

function entriesOf(folder: string): Dirent[] {
  try {
    const entries = readdirSync(folder, { withFileTypes: true })
    return entries.sort((a, b) => byBytes(a.name, b.name))
  } catch (cause) {
    throw unreadable(folder, cause)
  }
}

/** Why the entry cannot be in an image, or null. */
function problemOf({ source, isRoot = false }: WalkOptions, relative: string, entry: Dirent): string | null {
  // Names are decoded as UTF-8: what is none has lost bytes, and cannot be opened by that name.
  if (entry.name.includes('\ufffd')) return 'its name is not UTF-8'
  if (entry.isFile() || entry.isDirectory()) return null
  if (!entry.isSymbolicLink()) return 'it is a device, socket or pipe'
  if (isRoot) return null
  const target = readlinkSync(path.join(source, relative))
  const lands = path.posix.join(path.posix.dirname(relative), target)
  const isInside = !path.isAbsolute(target) && lands !== '..' && !lands.startsWith('../')
  return isInside ? null : `it is a link that leads out of the folder, to "${target}"`
}

function refuse(problem: string, what: string, skipped: WalkOptions['skipped']): void {
  if (skipped === undefined) throw new AppError('driver_failed', `Cannot put "${what}" into an image: ${problem}.`)
  skipped(`${what}: ${problem}`)
}

/** A larger file is cheaper to read again than to hold. */
const keptBytesMax = 64 * 1024

/** Adds one file, hashed. A link at `source` is not followed: give its real path. */
export function addFile(tree: Tree, source: string, target: string, keeping?: KeepBudget): void {
  let fd: number
  try {
    fd = openSync(source, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  } catch (cause) {
    throw unreadable(source, cause)
  }
  try {
    const found = fstatSync(fd)
    if (!found.isFile()) throw new AppError('driver_failed', `Cannot put "${source}" into an image: it is no file.`)
    const mayKeep = found.size <= Math.min(keptBytesMax, keeping?.bytesLeft ?? 0)
    const { bytes, sha256, content } = (mayKeep ? readWhole(fd, found.size) : null) ?? readHash(fd)
    if (keeping !== undefined) keeping.bytesLeft -= content?.length ?? 0
    const isExecutable = (found.mode & 0o111) !== 0
    tree.put(target, { type: 'file', isExecutable, bytes, sha256, source, content })
  } finally {
    closeSync(fd)
  }
}

const piece = Buffer.alloc(256 * 1024)

interface ReadFile {
  readonly bytes: number
  readonly sha256: string
  readonly content: Uint8Array | null
}

/** Null when the file is not of `bytes` after all. */
function readWhole(fd: number, bytes: number): ReadFile | null {
  const content = Buffer.allocUnsafe(bytes)
  if (bytes > 0 && readSync(fd, content, 0, bytes, 0) !== bytes) return null
  return { bytes, sha256: hash('sha256', content, 'hex'), content }
}

function readHash(fd: number): ReadFile {
  const sum = createHash('sha256')
  let bytes = 0
  for (
    let count = readSync(fd, piece, 0, piece.length, 0);
    count > 0;
    count = readSync(fd, piece, 0, piece.length, bytes)
  ) {
    sum.update(piece.subarray(0, count))
    bytes += count
  }
  return { bytes, sha256: sum.digest('hex'), content: null }
}

function unreadable(what: string, cause: unknown): AppError {
  const reason = cause instanceof Error ? cause.message : String(cause)
  return new AppError('driver_failed', `Cannot read "${what}" for an image: ${reason}.`, { cause })
}
