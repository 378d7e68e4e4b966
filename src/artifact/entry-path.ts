import { limits } from '../domain/limits.ts'
import { refuseEntry } from './refusal.ts'

/** Longest file name the usual Linux file systems take, in bytes (NAME_MAX). */
const segmentBytesMax = 255

const utf8 = new TextDecoder('utf-8', { fatal: true })

export interface EntryPath {
  /** Relative, with single slashes, no `.` or `..`; empty for the root folder itself. */
  readonly path: string
  readonly isFolder: boolean
}

/** Reads an entry's name as a path that stays inside the folder it is unpacked into. Throws invalid. */
export function parseEntryPath(raw: Buffer): EntryPath {
  const { pathBytesMax, depthMax } = limits.archive
  if (raw.length > pathBytesMax) {
    throw refuseEntry(
      raw.toString('latin1'),
      `its path is ${raw.length} bytes long, the limit is ${pathBytesMax}`,
      'Shorten its folders.',
    )
  }
  const name = decode(raw)
  refuseForeignPath(name)
  const isFolder = name.endsWith('/')
  const path = (isFolder ? name.slice(0, -1) : name).replace(/^\.\//, '')
  if (name === './') return { path: '', isFolder: true }
  const segments = path.split('/')
  if (segments.length > depthMax) {
    throw refuseEntry(name, `it is ${segments.length} folders deep, the limit is ${depthMax}`, 'Flatten its folders.')
  }
  for (const segment of segments) refuseSegment(name, segment)
  return { path, isFolder }
}

function decode(raw: Buffer): string {
  try {
    return utf8.decode(raw)
  } catch {
    throw refuseEntry(raw.toString('latin1'), 'its name is not UTF-8', 'Rebuild the zip with UTF-8 names.')
  }
}

function refuseForeignPath(name: string): void {
  const rebuild = 'Rebuild the zip with paths relative to the code folder.'
  if (name.length === 0) throw refuseEntry(name, 'it has no name', rebuild)
  if (name.includes('\0')) throw refuseEntry(name, 'its name holds a NUL byte', rebuild)
  if (name.includes('\\')) {
    throw refuseEntry(name, 'its path holds a backslash', 'Rebuild the zip with "/" between folders.')
  }
  if (name.startsWith('/')) throw refuseEntry(name, 'its path is absolute', rebuild)
  if (/^[A-Za-z]:/.test(name)) throw refuseEntry(name, 'its path starts with a drive letter', rebuild)
}

function refuseSegment(name: string, segment: string): void {
  const rebuild = 'Rebuild the zip with paths relative to the code folder.'
  if (segment === '..') throw refuseEntry(name, 'its path leaves the archive ("..")', rebuild)
  if (segment === '' || segment === '.') throw refuseEntry(name, 'its path has an empty or "." part', rebuild)
  const bytes = Buffer.byteLength(segment)
  if (bytes > segmentBytesMax) {
    throw refuseEntry(
      name,
      `one part of its path is ${bytes} bytes long, the limit is ${segmentBytesMax}`,
      'Shorten that name.',
    )
  }
}
