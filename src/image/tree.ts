import type { Digest } from '../domain/artifact.ts'
import { byBytes } from './by-bytes.ts'
import { hash } from 'node:crypto'

export interface FileEntry {
  readonly type: 'file'
  readonly isExecutable: boolean
  readonly bytes: number
  /** Hex. */
  readonly sha256: string
  /** The file on this machine that it comes from; null where there is none. */
  readonly source: string | null
  /** The bytes themselves; null where they are to be read from `source`. */
  readonly content: Uint8Array | null
}

/** Owners, times and finer permissions are not kept: everything belongs to root and is readable by all, folders and programs are executable. */
export type TreeEntry = { readonly type: 'folder' } | FileEntry | { readonly type: 'link'; readonly target: string }

/** What an image holds, as a list: the same list is the same image. Paths are relative and without `.` and `..`. */
export class Tree {
  readonly #entries = new Map<string, TreeEntry>([['', { type: 'folder' }]])
  #sorted: readonly (readonly [path: string, entry: TreeEntry])[] | null = null

  /** Adds a folder and those it lies in; what was a file or link on the way is replaced. */
  folder(path: string): void {
    if (this.#entries.get(path)?.type === 'folder') return
    this.#makeRoom(path)
    this.#entries.set(path, { type: 'folder' })
  }

  /** Adds a file or link in place of what was there before, a whole folder included. */
  put(path: string, entry: Exclude<TreeEntry, { type: 'folder' }>): void {
    this.#makeRoom(path)
    this.#entries.set(path, entry)
  }

  /** A file whose bytes are `content`. */
  write(path: string, content: Uint8Array | string): void {
    const bytes = Buffer.from(content)
    const sha256 = hash('sha256', bytes, 'hex')
    this.put(path, { type: 'file', isExecutable: false, bytes: bytes.length, sha256, source: null, content: bytes })
  }

  link(path: string, target: string): void {
    this.put(path, { type: 'link', target })
  }

  /** Removes a file or link that is there. */
  remove(path: string): void {
    this.#entries.delete(path)
    this.#sorted = null
  }

  get(path: string): TreeEntry | undefined {
    return this.#entries.get(path)
  }

  /** Of all files together. */
  get bytes(): number {
    let sum = 0
    for (const entry of this.#entries.values()) if (entry.type === 'file') sum += entry.bytes
    return sum
  }

  /** Sorted by path as bytes; the root, which is '', comes first and a folder before what is in it. */
  entries(): readonly (readonly [path: string, entry: TreeEntry])[] {
    this.#sorted ??= [...this.#entries].sort(([a], [b]) => byBytes(a, b))
    return this.#sorted
  }

  /** A line for each entry. Names are quoted: one may hold a line break. */
  manifest(): string {
    const lines = this.entries().map(([path, entry]) => `${lineOf(entry)} ${JSON.stringify(path)}`)
    return `${manifestVersion}\n${lines.join('\n')}\n`
  }

  digest(): Digest {
    return `sha256:${hash('sha256', this.manifest(), 'hex')}`
  }

  #makeRoom(path: string): void {
    this.#sorted = null
    if (this.#entries.get(path)?.type === 'folder')
      for (const other of this.#entries.keys()) if (other.startsWith(`${path}/`)) this.#entries.delete(other)
    const slash = path.lastIndexOf('/')
    if (slash > 0) this.folder(path.slice(0, slash))
  }
}

/** Changes with anything that makes another image of the same list. */
const manifestVersion = 'hearth tree 1'

function lineOf(entry: TreeEntry): string {
  if (entry.type === 'folder') return 'folder 0755'
  if (entry.type === 'link') return `link ${JSON.stringify(entry.target)}`
  return `file ${entry.isExecutable ? '0755' : '0644'} ${entry.bytes} ${entry.sha256}`
}
