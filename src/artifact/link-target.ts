import { limits } from '../domain/limits.ts'
import { refuseEntry } from './refusal.ts'

const utf8 = new TextDecoder('utf-8', { fatal: true })
const fix = 'Link by a relative path to something in the archive, or put the file itself in its place.'

/** Reads what a symbolic link at `path` leads to; it stays in the tree, whatever other links it crosses. For that `..` comes first alone, where the
 *  folders above are real ones: behind a name it could be the parent of where another link leads. Whether something is there is not asked. Throws invalid. */
export function parseLinkTarget(path: string, content: Buffer): string {
  if (content.length > limits.archive.pathBytesMax)
    throw refuseEntry(path, `it is a symbolic link over ${limits.archive.pathBytesMax} bytes`, fix)
  const target = decode(path, content)
  const shown = JSON.stringify(target)
  if (target === '' || target.includes('\0')) throw refuseEntry(path, 'it is a symbolic link to nowhere', fix)
  if (target.startsWith('/')) throw refuseEntry(path, `it is a symbolic link to the absolute path ${shown}`, fix)
  const parts = target.split('/').filter((part) => part !== '' && part !== '.')
  const firstName = parts.findIndex((part) => part !== '..')
  const upward = firstName === -1 ? parts.length : firstName
  const depth = path.split('/').length - 1
  if (upward > depth) throw refuseEntry(path, `it is a symbolic link that leaves the archive, to ${shown}`, fix)
  if (parts.slice(upward).includes('..'))
    throw refuseEntry(path, `it is a symbolic link with ".." behind a name, to ${shown}`, fix)
  return target
}

function decode(path: string, content: Buffer): string {
  try {
    return utf8.decode(content)
  } catch {
    throw refuseEntry(path, 'it is a symbolic link whose target is not UTF-8', fix)
  }
}
