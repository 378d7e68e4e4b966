import { open, type FileHandle } from 'node:fs/promises'
import { join } from 'node:path'
import { troublesIn } from './metrics.ts'

/** What Firecracker writes, by its names in the jail and in the run folder. */
export const writtenFiles = { log: 'log', metrics: 'metrics' } as const

/** Held open, since the files go with the VMM; null when there are none. */
export interface VmmFiles {
  readonly log: FileHandle | null
  readonly metrics: FileHandle | null
}

const logTailBytes = 2_048
/** One line of all counters is 6 to 10 KB. */
const metricsTailBytes = 32_768

export async function openVmmFiles(folder: string): Promise<VmmFiles> {
  const [log = null, metrics = null] = await Promise.all(
    [writtenFiles.log, writtenFiles.metrics].map((name) => open(join(folder, name)).catch(() => null)),
  )
  return { log, metrics }
}

/** Counters of trouble as of the last time the VMM wrote them: once a minute, and when it ends by itself. */
export async function readTroubles(metrics: FileHandle | null): Promise<readonly string[]> {
  return troublesIn(await readTail(metrics, metricsTailBytes))
}

export async function readTail(file: FileHandle | null, bytesMax = logTailBytes): Promise<string> {
  try {
    if (file === null) return ''
    const { size } = await file.stat()
    const buffer = Buffer.alloc(bytesMax)
    const { bytesRead } = await file.read({ buffer, position: Math.max(0, size - bytesMax) })
    return buffer.subarray(0, bytesRead).toString()
  } catch {
    // It tells of another error, which is not to be lost for this one.
    return ''
  }
}
