import { AppError } from '../domain/error.ts'
import { limits } from '../domain/limits.ts'

export const packBytesMax = 64 * 1024 * 1024
const packFilesMax = 20_000

export interface PackedFile {
  readonly path: string
  readonly bytes: Buffer
}

/** The files of a pack that a guest sent (docs/reference/guest-protocol.md). Throws guest_failed, naming what is wrong, for a path that
 *  leaves the folder, is not plain, comes twice or is both a file and a folder, and for anything over the limits or cut short. */
export function parseFilePack(pack: Buffer): PackedFile[] {
  if (pack.length > packBytesMax) throw refused(`${pack.length} bytes, at most ${packBytesMax}`)
  const files: PackedFile[] = []
  const names = new Set<string>()
  const folders = new Set<string>()
  let at = 0
  const take = (bytes: number): Buffer => {
    if (at + bytes > pack.length) throw refused('it is cut short')
    at += bytes
    return pack.subarray(at - bytes, at)
  }
  while (at < pack.length) {
    if (files.length === packFilesMax) throw refused(`more than ${packFilesMax} files`)
    const path = plainPath(take(take(2).readUInt16BE(0)))
    if (names.has(path) || folders.has(path)) throw refused(`path ${JSON.stringify(path)} comes twice`)
    const parts = path.split('/')
    for (let depth = 1; depth < parts.length; depth++) {
      const folder = parts.slice(0, depth).join('/')
      if (names.has(folder)) throw refused(`${JSON.stringify(folder)} is a file and a folder`)
      folders.add(folder)
    }
    names.add(path)
    files.push({ path, bytes: take(take(4).readUInt32BE(0)) })
  }
  return files
}

function plainPath(bytes: Buffer): string {
  const path = bytes.toString()
  const parts = path.split('/')
  const isPlain =
    Buffer.from(path).equals(bytes) &&
    bytes.length <= limits.archive.pathBytesMax &&
    parts.length <= limits.archive.depthMax &&
    // oxlint-disable-next-line no-control-regex
    !/[\0-\x1f\\]/.test(path) &&
    parts.every((part) => part !== '' && part !== '.' && part !== '..' && part.length <= 255)
  if (!isPlain) throw refused(`path ${JSON.stringify(path.slice(0, 200))} is not plain and relative`)
  return path
}

function refused(why: string): AppError {
  return new AppError('guest_failed', `Cannot take the compiled files: ${why}.`)
}
