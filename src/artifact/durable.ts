import { AppError } from '../domain/error.ts'
import { open, stat, statfs } from 'node:fs/promises'

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
    'Cannot store the upload: the disk that holds the data folder is full. Free space, then retry.',
    { detail: error.message, cause: error },
  )
}

/** What must stay free for everything else. */
const spareBytes = 64 * 1024 * 1024

/** Throws capacity when `bytes` more would not leave enough room on the disk of `folder`. */
export async function refuseFullDisk(folder: string, bytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(folder)
  const free = bavail * bsize
  if (free >= bytes + spareBytes) return
  const inMib = (value: number): string => `${Math.floor(value / 2 ** 20)} MiB`
  throw new AppError(
    'capacity',
    `Cannot store ${Math.ceil(bytes / 2 ** 20)} MiB: the disk that holds the data folder has ${inMib(free)} free, of which ${inMib(spareBytes)} stay free. Free space, then retry.`,
  )
}

export async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  )
}
