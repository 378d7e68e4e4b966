import { readdir, readlink, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import type { ZipFile } from 'yazl'

/** A file or link of a source. */
export interface SourceEntry {
  /** Below its folder, `/` between names. */
  readonly name: string
  readonly isExecutable: boolean
  /** Where it leads; null for a file. */
  readonly link: string | null
}

/** All files and links below `folder`, in one fixed order. */
export async function entriesBelow(folder: string): Promise<SourceEntry[]> {
  const found = (await readdir(folder, { recursive: true, withFileTypes: true })).filter(
    (entry) => entry.isFile() || entry.isSymbolicLink(),
  )
  const entries: SourceEntry[] = []
  for (const entry of found) {
    const place = join(entry.parentPath, entry.name)
    const link = entry.isSymbolicLink() ? await readlink(place) : null
    const isExecutable = link === null && ((await stat(place)).mode & 0o111) !== 0
    entries.push({ name: place.slice(folder.length + 1), isExecutable, link })
  }
  return entries.toSorted((a, b) => (a.name < b.name ? -1 : 1))
}

/** DOS times carry no zone, so local midnight gives the same bytes everywhere. */
export const entryOptions = (mode: number) => ({ mtime: new Date(1980, 0, 1), mode, forceDosTimestamp: true })

/** Adds an entry of `folder` under the name `as`, with its executable bit, a link as a link. */
export function addEntry(zip: ZipFile, folder: string, { name, isExecutable, link, as }: SourceEntry & { as: string }) {
  if (link !== null) zip.addBuffer(Buffer.from(link), as, entryOptions(0o120777))
  else zip.addFile(join(folder, name), as, entryOptions(isExecutable ? 0o100755 : 0o100644))
}

export function ended(zip: ZipFile): Readable {
  zip.end()
  const bytes = Readable.from(zip.outputStream)
  zip.on('error', (error: Error) => bytes.destroy(error))
  return bytes
}
