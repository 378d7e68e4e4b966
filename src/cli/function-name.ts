import path from 'node:path'

/** The name of a function whose code is in `folder`: what names may hold of the folder's, and never like a flag. */
export function functionNameOf(folder: string): string {
  const name = path
    .basename(folder)
    .replaceAll(/[^A-Za-z0-9_-]+/g, '-')
    .replace(/^-+/, '')
    .slice(0, 64)
  return name === '' ? 'function' : name
}
