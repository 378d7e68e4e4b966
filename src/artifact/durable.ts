import { AppError } from '../domain/error.ts'
import { open } from 'node:fs/promises'

/** Makes renames and new names inside `folder` survive a power cut. */
export async function fsyncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

const diskFullCodes = new Set(['ENOSPC', 'EDQUOT'])

/** A full disk as the `capacity` error that it is; anything else as it came. */
export function explainDiskError(error: unknown): unknown {
  if (!(error instanceof Error) || !('code' in error) || typeof error.code !== 'string') return error
  if (!diskFullCodes.has(error.code)) return error
  return new AppError(
    'capacity',
    'Cannot store the code: the disk that holds the data folder is full. Free space, then retry.',
    { detail: error.message, cause: error },
  )
}

export function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT'
}
