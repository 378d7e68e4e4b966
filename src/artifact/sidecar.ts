import { isMissing } from '../domain/is-missing.ts'
import { readFile } from 'node:fs/promises'

/** The file beside a folder: how much must be in a tree, and from what a derived folder was made. */
export const sidecarOf = (folder: string): string => `${folder}.json`

/** What this store wrote beside `folder`; null where it did not, or where what is there is damaged: then the folder counts as one without. */
export async function readSidecar<T extends object>(folder: string): Promise<Partial<T> | null> {
  try {
    const sidecar: unknown = JSON.parse(await readFile(sidecarOf(folder), 'utf8'))
    return isRecord<T>(sidecar) ? sidecar : null
  } catch (error) {
    if (isMissing(error) || error instanceof SyntaxError) return null
    throw error
  }
}

/** Nobody but this store writes there: fields may be lacking in what an older one wrote, none is of another type. */
function isRecord<T extends object>(value: unknown): value is Partial<T> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
