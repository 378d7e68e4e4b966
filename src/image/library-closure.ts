import { AppError } from '../domain/error.ts'
import { elfMachines, isElf64, readElf, type ElfFacts } from './elf.ts'
import type { FileEntry, Tree, TreeEntry } from './tree.ts'
import { addFile } from './tree-walk.ts'
import { closeSync, existsSync, openSync, readdirSync, readFileSync, readSync, realpathSync } from 'node:fs'
import path from 'node:path'

export interface ClosureOptions {
  readonly arch: 'x64' | 'arm64'
  /** Where a path of this machine comes in the tree, for libraries that a program finds by its own search path; null = in the system's folder. */
  readonly placeOf: (file: string) => string | null
  /** Files that may go when a library of theirs is not on this machine: modules that most programs never load. */
  readonly isOptional: (path: string) => boolean
  readonly skipped: (what: string) => void
}

/** Where the loader looks without being told. */
export const systemLibraries = { x64: 'usr/lib/x86_64-linux-gnu', arm64: 'usr/lib/aarch64-linux-gnu' } as const

/** No program of the image names them: the first is loaded by libc itself when a thread is cancelled; the others are what compiled packages that users bring
 *  along may count on, by the rules of Python's manylinux wheels. */
const customary = [
  'libgcc_s.so.1',
  'libstdc++.so.6',
  'libm.so.6',
  'libpthread.so.0',
  'libdl.so.2',
  'librt.so.1',
  'libutil.so.1',
  'libresolv.so.2',
]

/** Adds to `tree` the loader and every shared library that its programs and libraries ask for, and those that these ask for.
 *  Nothing is run: each is found as the loader would, from what the ELF files say and the machine's ld.so.conf.
 *  Throws driver_failed, naming file and library, when one is not on this machine. */
export function addLibraries(tree: Tree, options: ClosureOptions): void {
  const closure = new Closure(tree, options)
  for (const [target, entry] of tree.entries()) if (entry.type === 'file') closure.enter(target, entry)
  closure.finish()
}

interface Work {
  readonly target: string
  /** Real path on this machine: `$ORIGIN` is its folder. */
  readonly source: string
  readonly elf: ElfFacts
}

class Closure {
  readonly #tree: Tree
  readonly #options: ClosureOptions
  readonly #systemFolders = systemFolders()
  readonly #queue: Work[] = []

  constructor(tree: Tree, options: ClosureOptions) {
    this.#tree = tree
    this.#options = options
  }

  enter(target: string, { source, content, isExecutable }: FileEntry): void {
    if (source === null || !(isExecutable || /\.so(\.|$)/.test(target))) return
    const bytes = Buffer.from(content ?? readFileSync(source))
    const elf = readElf(bytes)
    if (elf === null) return
    if (elf.machine === elfMachines[this.#options.arch]) this.#queue.push({ target, source: realpathSync(source), elf })
    else this.#leaveOut(target, 'it is for another processor')
  }

  finish(): void {
    for (let work = this.#queue.shift(); work !== undefined; work = this.#queue.shift()) {
      if (work.elf.interpreter !== null) this.#addLoader(work.elf.interpreter)
      for (const name of work.elf.needed) if (!this.#provide(name, work)) break
      if (this.#queue.length === 0) this.#addCustomary()
    }
  }

  /** Whether the library is in the tree now; if not, the file that asked for it no longer is. */
  #provide(name: string, { target, source, elf }: Work): boolean {
    const own = this.#ownFolders(elf, path.dirname(source))
    const found = this.#find(name, own) ?? this.#find(name, this.#systemFolders)
    if (found === null) {
      this.#leaveOut(target, `its library ${name} is not on this machine`)
      return false
    }
    const isOwn = own.includes(path.dirname(found))
    const place = isOwn ? this.#options.placeOf(found) : null
    this.#add(place ?? `${systemLibraries[this.#options.arch]}/${name}`, found)
    return true
  }

  /** RPATH counts only where there is no RUNPATH. */
  #ownFolders({ rpath, runpath }: ElfFacts, origin: string): string[] {
    const folders = runpath.length > 0 ? runpath : rpath
    return folders
      .map((folder) => path.normalize(folder.replaceAll(/\$(ORIGIN|\{ORIGIN\})/g, origin)))
      .map((folder) => (folder.length > 1 ? folder.replace(/\/$/, '') : folder))
      .filter((folder) => path.isAbsolute(folder))
  }

  #find(name: string, folders: readonly string[]): string | null {
    if (name.includes('/')) return null
    for (const folder of folders) {
      const file = path.join(folder, name)
      if (machineOf(file) === elfMachines[this.#options.arch]) return file
    }
    return null
  }

  #add(target: string, file: string): void {
    const known = this.#tree.get(target)
    if (known?.type === 'link') return
    const real = realpathSync(file)
    if (known?.type === 'file' && known.source === real) return
    if (known !== undefined && !this.#isSame(known, real)) throw conflict(target, file)
    if (known !== undefined) return
    addFile(this.#tree, real, target)
    const entry = this.#tree.get(target)
    if (entry?.type === 'file') this.enter(target, entry)
  }

  #isSame(known: TreeEntry, real: string): boolean {
    return known.type === 'file' && known.source !== null && realpathSync(known.source) === real
  }

  #addLoader(interpreter: string): void {
    const target = interpreter.replace(/^\//, '').replace(/^(lib\w*)\//, 'usr/$1/')
    if (this.#tree.get(target) === undefined) this.#add(target, interpreter)
  }

  #addCustomary(): void {
    for (const name of customary) {
      const found = this.#find(name, this.#systemFolders)
      if (found !== null) this.#add(`${systemLibraries[this.#options.arch]}/${name}`, found)
    }
  }

  #leaveOut(target: string, why: string): void {
    if (!this.#options.isOptional(target))
      throw new AppError('driver_failed', `Cannot put "/${target}" into an image: ${why}.`)
    this.#tree.remove(target)
    this.#options.skipped(`/${target}: ${why}`)
  }
}

/** Of an ELF file, from its first bytes; null for anything else. */
function machineOf(file: string): number | null {
  if (!existsSync(file)) return null
  const head = Buffer.alloc(64)
  const fd = openSync(file, 'r')
  try {
    readSync(fd, head)
  } finally {
    closeSync(fd)
  }
  return isElf64(head) ? head.readUInt16LE(18) : null
}

function conflict(target: string, file: string): AppError {
  return new AppError('driver_failed', `Cannot put "${file}" into an image: another library is there as "/${target}".`)
}

const defaultFolders = [
  '/lib/x86_64-linux-gnu',
  '/usr/lib/x86_64-linux-gnu',
  '/lib/aarch64-linux-gnu',
  '/usr/lib/aarch64-linux-gnu',
  '/lib64',
  '/usr/lib64',
  '/lib',
  '/usr/lib',
]

/** As /etc/ld.so.conf says, then the loader's own. */
function systemFolders(): string[] {
  return [...new Set([...configured('/etc/ld.so.conf', 0), ...defaultFolders])].filter((folder) => existsSync(folder))
}

function configured(file: string, depth: number): string[] {
  if (depth > 4 || !existsSync(file)) return []
  const lines = readFileSync(file, 'utf8')
    .split('\n')
    .map((line) => line.replace(/#.*/, '').trim())
    .filter((line) => line !== '')
  return lines.flatMap((line) => {
    const [, pattern] = /^include\s+(\S+)/.exec(line) ?? []
    if (pattern === undefined) return [line]
    return included(path.resolve(path.dirname(file), pattern)).flatMap((each) => configured(each, depth + 1))
  })
}

/** Files of one folder by a pattern such as `*.conf`. */
function included(pattern: string): string[] {
  const folder = path.dirname(pattern)
  if (!existsSync(folder)) return []
  const [head = '', tail = ''] = path.basename(pattern).split('*')
  const names = readdirSync(folder).filter((name) => name.startsWith(head) && name.endsWith(tail))
  return names.sort().map((name) => path.join(folder, name))
}
