import type { Budget } from './budget.ts'
import { buildAgain, refuseImage } from './refusal.ts'
import { chmodSync, linkSync, mkdirSync, readFileSync, rmSync, symlinkSync, unlinkSync } from 'node:fs'
import { join } from 'node:path'

export type Node =
  | { readonly kind: 'folder'; readonly children: Map<string, Node>; layer: number; seen: number }
  | { readonly kind: 'file'; readonly bytes: number; layer: number }
  | { readonly kind: 'link'; readonly target: string; layer: number }

type Folder = Extract<Node, { kind: 'folder' }>

/** Where something comes: a folder that is one, all the way down, and a name in it. */
interface Spot {
  readonly folder: Folder
  /** Of `folder`, on disk. */
  readonly path: string
  readonly name: string
}

/** As Linux follows. */
const hopsMax = 40
const depthMax = 64
/** On disk, where the data folder comes before it; Linux takes 4,095. */
const pathBytesMax = 3_900

/** A root file system in the making: what is on disk, and the same in memory, by which every path is followed. The disk is never asked,
 *  so no link in an image leads a write out of it. */
export class RootTree {
  readonly #disk: string
  readonly #root: Folder = { kind: 'folder', children: new Map(), layer: 0, seen: 0 }
  #layer = 0
  #where = ''
  readonly #budget: Pick<Budget, 'chargeFolder'>

  /** `folder` is there and empty. */
  constructor(folder: string, budget: Pick<Budget, 'chargeFolder'>) {
    this.#disk = folder
    this.#budget = budget
  }

  /** What comes from here on lies over what is there; `where` is how errors name it. */
  beginLayer(where: string): void {
    this.#layer++
    this.#where = where
  }

  /** Of what lies at the very top. */
  get topEntries(): number {
    return this.#root.children.size
  }

  /** Files, folders and links below the root, and the bytes of all files. */
  count(): { entries: number; bytes: number } {
    const sum = { entries: -1, bytes: 0 }
    const visit = (node: Node): void => {
      sum.entries++
      if (node.kind === 'file') sum.bytes += node.bytes
      if (node.kind === 'folder') node.children.forEach(visit)
    }
    visit(this.#root)
    return sum
  }

  /** A link that a lower layer has there is replaced; one of this layer is followed. */
  folder(path: string): void {
    this.#replaceLink(path)
    this.#enter(this.#partsOf(path), path)
  }

  /** Makes room at `path` and gives the place on disk, where nothing is; the caller writes `bytes` there. */
  file(path: string, bytes: number): string {
    const spot = this.#clear(path)
    spot.folder.children.set(spot.name, { kind: 'file', bytes, layer: this.#layer })
    return join(spot.path, spot.name)
  }

  /** What is at `path`, no part of which is followed if it is a link. */
  at(path: string): Node | undefined {
    let node: Node | undefined = this.#root
    for (const name of this.#partsOf(path)) node = node?.kind === 'folder' ? node.children.get(name) : undefined
    return node
  }

  /** Of the file at `path`; null when there is none, or it has more than `bytesMax`. */
  content(path: string, bytesMax: number): string | null {
    const node = this.at(path)
    if (node?.kind !== 'file' || node.bytes > bytesMax) return null
    return readFileSync(join(this.#disk, ...this.#partsOf(path)), 'utf8')
  }

  link(path: string, target: string): void {
    if (target === '' || target.includes('\0') || Buffer.byteLength(target) > 4_095)
      throw this.#refusal(path, `its target "${target.slice(0, 80)}" is no path`, 'Remove the link.')
    const spot = this.#clear(path)
    symlinkSync(target, join(spot.path, spot.name))
    spot.folder.children.set(spot.name, { kind: 'link', target, layer: this.#layer })
  }

  /** A second name of the file, or the link, at `target`. */
  hardLink(path: string, target: string): void {
    const from = this.#spot(target)
    const source = from.folder.children.get(from.name)
    if (source === undefined || source.kind === 'folder')
      throw this.#refusal(path, `it is a hard link to "${target}", which is no file of the image`)
    const spot = this.#spot(path)
    const there = spot.folder.children.get(spot.name)
    if (there === source) return
    if (there?.kind === 'folder' && `${from.path}/`.startsWith(`${join(spot.path, spot.name)}/`))
      throw this.#refusal(path, `it is a hard link to "${target}", which lies in the folder that it replaces`)
    this.#remove(spot)
    const onDisk = join(spot.path, spot.name)
    if (source.kind === 'link') symlinkSync(source.target, onDisk)
    else linkSync(join(from.path, from.name), onDisk)
    spot.folder.children.set(spot.name, { ...source, layer: this.#layer })
  }

  /** A whiteout: what lower layers have there is gone. */
  hide(path: string): void {
    const spot = this.#spot(path)
    const node = spot.folder.children.get(spot.name)
    if (node === undefined) return
    if (node.kind === 'folder' && node.seen === this.#layer) this.#hideLower(node, join(spot.path, spot.name))
    else if (node.layer !== this.#layer) this.#remove(spot)
  }

  /** An opaque whiteout: of the folder only what this layer brings. */
  hideAllIn(path: string): void {
    this.#replaceLink(path)
    const { folder, path: onDisk } = this.#enter(this.#partsOf(path), path)
    this.#hideLower(folder, onDisk)
  }

  /** Makes what is not there of the folder at `path`, links followed. Throws invalid where a file is in its way. */
  ensureFolder(path: string): void {
    this.#enter(this.#partsOf(path), path, { replacesFiles: false })
  }

  /** A folder with nothing in it, and one on all levels, whatever was there before. */
  emptyFolder(path: string): void {
    this.ownFolder(path)
    const { folder, path: onDisk } = this.#enter(this.#partsOf(path), path)
    for (const name of folder.children.keys()) this.#remove({ folder, path: onDisk, name })
  }

  /** A folder that is one on all levels, whatever was there before. */
  ownFolder(path: string): void {
    let [at, onDisk] = [this.#root, this.#disk]
    for (const name of this.#partsOf(path)) {
      if (at.children.get(name)?.kind !== 'folder') this.#remove({ folder: at, path: onDisk, name })
      at = this.#child({ folder: at, path: onDisk, name })
      onDisk = join(onDisk, name)
    }
  }

  #replaceLink(path: string): void {
    if (this.#partsOf(path).length === 0) return
    const spot = this.#spot(path)
    const node = spot.folder.children.get(spot.name)
    if (node?.kind === 'link' && node.layer !== this.#layer) this.#remove(spot)
  }

  #hideLower(folder: Folder, onDisk: string): void {
    for (const [name, node] of folder.children) {
      if (node.kind === 'folder' && node.seen === this.#layer) this.#hideLower(node, join(onDisk, name))
      else if (node.layer !== this.#layer) this.#remove({ folder, path: onDisk, name })
    }
  }

  #clear(path: string): Spot {
    const spot = this.#spot(path)
    this.#remove(spot)
    return spot
  }

  #remove({ folder, path, name }: Spot): void {
    const node = folder.children.get(name)
    if (node === undefined) return
    if (node.kind === 'folder') rmSync(join(path, name), { recursive: true })
    else unlinkSync(join(path, name))
    folder.children.delete(name)
  }

  #spot(path: string): Spot {
    const parts = this.#partsOf(path)
    const name = parts.pop()
    if (name === undefined) throw this.#refusal(path, 'it is the root itself')
    const spot = { ...this.#enter(parts, path), name }
    if (Buffer.byteLength(spot.path) + Buffer.byteLength(name) > pathBytesMax)
      throw this.#refusal(path, `its path is longer than ${pathBytesMax} bytes`)
    return spot
  }

  /** The folder that `parts` lead to, links followed as from inside the image; what is not there is made. */
  #enter(
    parts: readonly string[],
    path: string,
    { replacesFiles = true }: { replacesFiles?: boolean } = {},
  ): { folder: Folder; path: string } {
    const root = { folder: this.#root, path: this.#disk }
    const way = [root]
    const rest = [...parts]
    let hops = 0
    for (let name = rest.shift(); name !== undefined; name = rest.shift()) {
      const { folder, path: onDisk } = way.at(-1) ?? root
      if (name === '..') {
        if (way.length === 1) throw this.#refusal(path, 'it leads out of the image through a link', 'Remove that link.')
        way.pop()
        continue
      }
      const node = folder.children.get(name)
      if (node?.kind === 'link') {
        if (++hops > hopsMax) throw this.#refusal(path, `it goes through more than ${hopsMax} links`, 'Remove some.')
        if (node.target.startsWith('/')) way.length = 1
        rest.unshift(...node.target.split('/').filter((part) => part !== '' && part !== '.'))
        continue
      }
      if (node?.kind === 'file' && !replacesFiles)
        throw this.#refusal(path, `"${join(onDisk, name).slice(this.#disk.length)}" is a file`)
      way.push({ folder: this.#child({ folder, path: onDisk, name }), path: join(onDisk, name) })
    }
    return way.at(-1) ?? root
  }

  #child(spot: Spot): Folder {
    const { folder, path, name } = spot
    const known = folder.children.get(name)
    if (known?.kind === 'folder') {
      known.seen = this.#layer
      return known
    }
    this.#remove(spot)
    this.#budget.chargeFolder(name)
    mkdirSync(join(path, name))
    // mkdir's own mode is cut by the umask.
    chmodSync(join(path, name), 0o755)
    const made: Folder = { kind: 'folder', children: new Map(), layer: this.#layer, seen: this.#layer }
    folder.children.set(name, made)
    return made
  }

  /** The parts of a member's path. Throws invalid for one that no image has for an honest reason. */
  #partsOf(path: string): string[] {
    if (path.includes('\0') || path.includes('\uFFFD')) throw this.#refusal(path, 'its name is not UTF-8')
    const parts = path.split('/').filter((part) => part !== '' && part !== '.')
    if (parts.includes('..')) throw this.#refusal(path, 'its path leaves the image ("..")')
    if (parts.length > depthMax) throw this.#refusal(path, `it is more than ${depthMax} folders deep`)
    if (parts.some((part) => Buffer.byteLength(part) > 255)) throw this.#refusal(path, 'a part of it is too long')
    return parts
  }

  #refusal(path: string, problem: string, fix = buildAgain): Error {
    return refuseImage(`${this.#where}: ${path}`, problem, fix)
  }
}
