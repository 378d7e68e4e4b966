import { limits } from '../domain/limits.ts'
import { refuseArchive, refuseEntry } from './refusal.ts'

/** The paths an archive would make, checked against one another while they are added: no duplicate, no two that differ only in case
 *  (or in how an accent is spelled), no file that is also a folder. Folders that entries imply count as entries, because each costs
 *  an inode; O(entries) in time and memory. */
export class TreePlan {
  readonly #taken = new Map<string, { path: string; isFolder: boolean; isExplicit: boolean }>()
  readonly folders: string[] = []

  addFile(path: string): void {
    this.#addFolders(parentOf(path))
    const other = this.#taken.get(fold(path))
    if (other !== undefined) this.#refuse(path, other)
    this.#take(path, { isFolder: false, isExplicit: true })
  }

  addFolder(path: string): void {
    if (path === '') return
    this.#addFolders(path)
    const own = this.#taken.get(fold(path))
    if (own?.isExplicit) throw refuseEntry(`${path}/`, 'it appears twice', 'Remove one of the two.')
    if (own !== undefined) own.isExplicit = true
  }

  /** Adds `path` and the folders above it, nearest known one first: each folder is taken once. */
  #addFolders(path: string): void {
    const missing: string[] = []
    for (let folder = path; folder !== ''; folder = parentOf(folder)) {
      const other = this.#taken.get(fold(folder))
      if (other === undefined) {
        missing.push(folder)
        continue
      }
      if (!other.isFolder || other.path !== folder) this.#refuse(folder, other)
      break
    }
    for (const folder of missing.toReversed()) {
      this.#take(folder, { isFolder: true, isExplicit: false })
      this.folders.push(folder)
    }
  }

  #take(path: string, { isFolder, isExplicit }: { isFolder: boolean; isExplicit: boolean }): void {
    this.#taken.set(fold(path), { path, isFolder, isExplicit })
    const { entriesMax } = limits.archive
    if (this.#taken.size > entriesMax) {
      throw refuseArchive(
        `it has more than ${entriesMax} files and folders, which is the limit`,
        'Bundle the code into fewer files, or leave out what it does not need.',
      )
    }
  }

  #refuse(path: string, other: { path: string; isFolder: boolean }): never {
    if (other.path !== path) {
      const fix = 'Rename one: some file systems cannot hold both.'
      throw refuseEntry(path, `it differs from ${JSON.stringify(other.path)} only in case or accents`, fix)
    }
    if (other.isFolder) throw refuseEntry(path, 'it is both a file and a folder', 'Remove one of the two.')
    throw refuseEntry(path, 'it appears twice, or is both a file and a folder', 'Remove one of the two.')
  }
}

function parentOf(path: string): string {
  const slash = path.lastIndexOf('/')
  return slash === -1 ? '' : path.slice(0, slash)
}

function fold(path: string): string {
  return path.normalize('NFC').toLowerCase()
}
