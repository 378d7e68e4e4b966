import { join } from 'node:path'
import { PipeTail } from './pipe-tail.ts'

/** Pipes that Firecracker writes to, by their names in the jail and in the run folder. */
export const writtenPipes = { log: 'log', metrics: 'metrics' } as const

/** Held open, since they go with the VMM; null when there are none. */
export interface VmmPipes {
  readonly log: PipeTail | null
  readonly metrics: PipeTail | null
}

const logTailBytes = 2_048
/** One line of all counters is 6 to 10 KB. */
const metricsTailBytes = 32_768

export function openVmmPipes(folder: string): VmmPipes {
  return {
    log: openTail(join(folder, writtenPipes.log), logTailBytes),
    metrics: openTail(join(folder, writtenPipes.metrics), metricsTailBytes),
  }
}

/** Null: it tells of other errors, which are not to be lost for its own. */
function openTail(path: string, bytesMax: number): PipeTail | null {
  try {
    return PipeTail.open(path, bytesMax)
  } catch {
    return null
  }
}
