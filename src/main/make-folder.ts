import { mkdirSync, statSync } from 'node:fs'
import path from 'node:path'

/** Makes `folder` and those above it, readable by this user alone, or finds it there. Node's own recursive mkdir says "no such file" of a file system that
 *  is read-only, and never comes back from /proc. Throws an Error whose message says what stands in the way. */
export function makeFolder(folder: string): void {
  if (folder === '') throw new Error('its name is empty')
  if (isFolder(folder)) return
  const parent = path.dirname(folder)
  if (parent !== folder) makeFolder(parent)
  try {
    mkdirSync(folder, { mode: 0o700 })
  } catch (cause) {
    const { code = '', message } = cause as NodeJS.ErrnoException
    // Another starter may have made it just now.
    if (code === 'EEXIST' && isFolder(folder)) return
    throw new Error(reasons[code]?.(folder, parent) ?? message, { cause })
  }
}

const reasons: Readonly<Record<string, (folder: string, parent: string) => string>> = {
  EEXIST: (folder) => `${folder} is no folder`,
  ENOTDIR: (_, parent) => `${parent} is no folder`,
  EACCES: (_, parent) => `this user may not write to ${parent}`,
  EROFS: (_, parent) => `the file system of ${parent} is read-only`,
  ENOSPC: (_, parent) => `the disk of ${parent} is full`,
  ENOENT: (_, parent) => `nothing can be made in ${parent}`,
}

export function isFolder(file: string): boolean {
  return statSync(file, { throwIfNoEntry: false })?.isDirectory() === true
}
