import { AppError } from '../domain/error.ts'
import { mkdirSync, readdirSync, rmSync, statSync } from 'node:fs'
import path from 'node:path'

/** A kernel takes an hour at most: what is older was left by a build that was killed. */
const draftMsMax = 6 * 60 * 60_000

/** Makes the folder for drafts and removes old ones in it. Throws internal when it cannot be used. */
export function prepareDrafts(folder: string): void {
  try {
    mkdirSync(folder, { recursive: true })
    for (const name of readdirSync(folder)) {
      const draft = path.join(folder, name)
      const found = statSync(draft, { throwIfNoEntry: false })
      if (found !== undefined && found.mtimeMs < Date.now() - draftMsMax)
        rmSync(draft, { recursive: true, force: true })
    }
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause)
    throw new AppError('internal', `Cannot use "${folder}" for images: ${why}.`, { cause })
  }
}
