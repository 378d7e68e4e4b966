import { AppError } from '../domain/error.ts'
import { SequentialFile } from './sequential-file.ts'
import { SourceReader } from './source-reader.ts'
import type { Tree, TreeEntry } from './tree.ts'

/* erofs, as Linux reads it since 5.4, and of that the plainest part: uncompressed, 4 KiB blocks, no extended attributes.
 *
 *   0       block 0: superblock at 1024, the inodes from 1152 on, each 32 bytes, with the rest of its data behind it (a file's or
 *           folder's last bytes, a link's target) where that fits into the same block
 *   ...     whole blocks of files and folders, in the order of the inodes
 *   size    of the device, sparse behind the last block
 *
 * Written here and not by mkfs.erofs, which wants the tree on disk as it shall be: a copy of each file, and a child process in the middle of serving
 * requests. Source: Linux fs/erofs/erofs_fs.h; checked in tests against fsck.erofs and by booting. */

const blockBytes = 4096
const superblockAt = 1024
const inodesAt = superblockAt + 128
const inodeBytes = 32
const direntBytes = 12
/** A longer rest gets a block of its own: it would waste about as much of the inodes' one. */
const inlineBytesMax = 2048
const fileBytesMax = 2 ** 32 - 1

const modes = { folder: 0o040755, link: 0o120777, program: 0o100755, file: 0o100644 } as const
const direntTypes: Readonly<Record<TreeEntry['type'], number>> = { file: 1, folder: 2, link: 7 }

interface Inode {
  readonly entry: TreeEntry
  readonly path: string
  readonly bytes: number
  /** Names in order, with `.` and `..`; of folders only. */
  readonly children: readonly Child[]
  /** Of the inode. */
  at: number
  isInline: boolean
  firstBlock: number
  /** Of a file, once written: the bytes behind its inode. */
  rest: Buffer | null
}

interface Child {
  readonly name: Buffer
  readonly path: string
}

export interface ErofsOptions {
  readonly file: string
  /** 16 bytes. */
  readonly uuid: Uint8Array
  /** Of the whole image, sparse; default: what it needs. */
  readonly imageBytes?: number
  readonly mode?: number
}

/** Where everything of a tree comes in its image. */
export interface ErofsPlan {
  /** Without a sparse end. */
  readonly bytes: number
  readonly inodes: readonly Inode[]
}

/** Throws driver_failed (a file of 4 GiB). */
export function planErofs(tree: Tree): ErofsPlan {
  const inodes = inodesOf(tree)
  return { inodes, bytes: placeData(inodes, placeInodes(inodes)) * blockBytes }
}

/** Writes what `planErofs` made of a tree as an erofs to the new file `file`, synchronously: call it in a worker thread, once for a plan.
 *  Each source is read once more and must still be what the tree says. Throws driver_failed (a source changed), invalid (over `imageBytes`). */
export function writeErofs({ inodes, bytes }: ErofsPlan, { file, uuid, imageBytes, mode }: ErofsOptions): void {
  if (imageBytes !== undefined && bytes > imageBytes) throw tooLarge(bytes, imageBytes)
  const byPath = new Map(inodes.map((inode) => [inode.path, inode]))
  const output = new SequentialFile(file, mode ?? 0o644)
  try {
    output.skipTo(superblockAt)
    output.write(superblock({ inodes, blocks: bytes / blockBytes, uuid }))
    inodes.forEach((inode, at) => writeInode(output, inode, { number: at + 1, byPath }))
    for (const inode of inodes) writeBlocks(output, inode, byPath)
    output.finish(imageBytes ?? bytes)
  } finally {
    output.close()
  }
}

function inodesOf(tree: Tree): Inode[] {
  const entries = tree.entries()
  const children = new Map<string, Child[]>()
  for (const [path, { type }] of entries) {
    if (path !== '')
      children.get(parentOf(path))?.push({ name: Buffer.from(path.slice(path.lastIndexOf('/') + 1)), path })
    if (type !== 'folder') continue
    const above = path === '' ? '' : parentOf(path)
    children.set(path, [
      { name: Buffer.from('.'), path },
      { name: Buffer.from('..'), path: above },
    ])
  }
  return entries.map(([path, entry]) => {
    const sorted = (children.get(path) ?? []).sort((a, b) => a.name.compare(b.name))
    return {
      entry,
      path,
      bytes: sizeOf(path, entry, sorted),
      children: sorted,
      at: 0,
      isInline: false,
      firstBlock: 0,
      rest: null,
    }
  })
}

function parentOf(path: string): string {
  return path.slice(0, Math.max(0, path.lastIndexOf('/')))
}

function sizeOf(path: string, entry: TreeEntry, children: readonly Child[]): number {
  if (entry.type === 'folder') {
    const groups = direntGroups(children)
    return (groups.length - 1) * blockBytes + groupBytes(groups.at(-1) ?? [])
  }
  const bytes = entry.type === 'link' ? Buffer.byteLength(entry.target) : entry.bytes
  const max = entry.type === 'link' ? blockBytes - inodeBytes : fileBytesMax
  if (bytes > max)
    throw new AppError('driver_failed', `Cannot put "${path}" into an image: ${bytes} bytes are too many.`)
  return bytes
}

/** Names do not cross blocks: each block of a folder is searched by itself. */
function direntGroups(children: readonly Child[]): Child[][] {
  const groups: Child[][] = []
  let bytes = Infinity
  for (const child of children) {
    const own = direntBytes + child.name.length
    if (bytes + own > blockBytes) {
      groups.push([])
      bytes = 0
    }
    groups.at(-1)?.push(child)
    bytes += own
  }
  return groups
}

function groupBytes(group: readonly Child[]): number {
  return group.reduce((sum, { name }) => sum + direntBytes + name.length, 0)
}

/** Gives each inode its place; returns the blocks taken. A rest that is kept with its inode may not leave the inode's block. */
function placeInodes(inodes: readonly Inode[]): number {
  let at = inodesAt
  for (const inode of inodes) {
    const rest = inode.bytes % blockBytes
    inode.isInline = inode.entry.type === 'link' || (rest > 0 && rest <= inlineBytesMax)
    const own = inodeBytes + (inode.isInline ? rest : 0)
    if ((at % blockBytes) + own > blockBytes) at = roundUp(at, blockBytes)
    inode.at = at
    at = roundUp(at + own, inodeBytes)
  }
  return Math.ceil(at / blockBytes)
}

function placeData(inodes: readonly Inode[], metaBlocks: number): number {
  let next = metaBlocks
  for (const inode of inodes) {
    inode.firstBlock = next
    next += wholeBlocks(inode)
  }
  return next
}

function wholeBlocks({ bytes, isInline }: Inode): number {
  return isInline ? Math.floor(bytes / blockBytes) : Math.ceil(bytes / blockBytes)
}

function superblock({ inodes, blocks, uuid }: { inodes: readonly Inode[]; blocks: number; uuid: Uint8Array }): Buffer {
  const block = Buffer.alloc(128)
  block.writeUInt32LE(0xe0f5e1e2, 0)
  block.writeUInt8(Math.log2(blockBytes), 12)
  block.writeUInt16LE(inodesAt / inodeBytes, 14) // The root, which is the first.
  block.writeBigUInt64LE(BigInt(inodes.length), 16)
  block.writeUInt32LE(blocks, 36)
  block.set(uuid.subarray(0, 16), 48)
  return block
}

type Paths = ReadonlyMap<string, Inode>

function writeInode(output: SequentialFile, inode: Inode, { number, byPath }: { number: number; byPath: Paths }): void {
  const { entry, bytes, isInline } = inode
  const packed = Buffer.alloc(inodeBytes)
  packed.writeUInt16LE(isInline ? 2 << 1 : 0, 0)
  packed.writeUInt16LE(modeOf(entry), 4)
  packed.writeUInt16LE(linksTo(inode, byPath), 6)
  packed.writeUInt32LE(bytes, 8)
  packed.writeUInt32LE(inode.firstBlock, 16)
  packed.writeUInt32LE(number, 20)
  output.skipTo(inode.at)
  output.write(packed)
  if (!isInline) return
  if (entry.type === 'file') {
    inode.rest = readRest(inode)
    output.write(inode.rest)
  } else output.write(dataOf(inode, byPath).subarray(wholeBlocks(inode) * blockBytes))
}

function modeOf(entry: TreeEntry): number {
  if (entry.type === 'file') return entry.isExecutable ? modes.program : modes.file
  return modes[entry.type]
}

/** A folder is named by its parent, by itself, and by each folder in it. */
function linksTo({ entry, children }: Inode, byPath: Paths): number {
  if (entry.type !== 'folder') return 1
  return Math.min(65_535, children.filter(({ path }) => byPath.get(path)?.entry.type === 'folder').length)
}

function writeBlocks(output: SequentialFile, inode: Inode, byPath: Paths): void {
  const { entry, path, bytes, firstBlock, rest } = inode
  const end = Math.min(bytes, wholeBlocks(inode) * blockBytes)
  if (end === 0) return
  output.skipTo(firstBlock * blockBytes)
  if (entry.type !== 'file') return output.write(dataOf(inode, byPath).subarray(0, end))
  const reader = new SourceReader(path, entry)
  try {
    for (const piece of reader.read(0, end)) output.write(piece)
    if (rest !== null) reader.note(rest)
    reader.confirm()
  } finally {
    reader.close()
  }
}

/** The bytes that are kept with the inode. They are all of a small file: then its content is checked here. */
function readRest(inode: Inode): Buffer {
  if (inode.entry.type !== 'file') return Buffer.alloc(0)
  const start = wholeBlocks(inode) * blockBytes
  const reader = new SourceReader(inode.path, inode.entry)
  try {
    const rest = Buffer.concat([...reader.read(start, inode.bytes)].map((piece) => Buffer.from(piece)))
    if (start === 0) reader.confirm()
    return rest
  } finally {
    reader.close()
  }
}

function dataOf({ entry, bytes, children }: Inode, byPath: Paths): Buffer {
  if (entry.type === 'link') return Buffer.from(entry.target)
  const data = Buffer.alloc(bytes)
  direntGroups(children).forEach((group, block) => {
    let nameAt = group.length * direntBytes
    group.forEach(({ name, path }, position) => {
      const target = byPath.get(path)
      const at = block * blockBytes + position * direntBytes
      data.writeBigUInt64LE(BigInt((target?.at ?? 0) / inodeBytes), at)
      data.writeUInt16LE(nameAt, at + 8)
      data.writeUInt8(direntTypes[target?.entry.type ?? 'file'], at + 10)
      data.set(name, block * blockBytes + nameAt)
      nameAt += name.length
    })
  })
  return data
}

function tooLarge(bytes: number, imageBytes: number): AppError {
  const mib = (value: number): number => Math.ceil(value / 2 ** 20)
  return new AppError(
    'invalid',
    `Code, layers and bytecode take ${mib(bytes)} MiB as an image; a microVM's code drive holds ${mib(imageBytes)} MiB. Leave out what the function does not need.`,
    { field: 'code', value: bytes, allowed: `at most ${imageBytes} bytes` },
  )
}

function roundUp(value: number, to: number): number {
  return Math.ceil(value / to) * to
}
