import type { UsagePeaks } from '../domain/agent.ts'
import type { Usage } from '../domain/driver.ts'
import type { CrashReason } from '../domain/invocation.ts'
import type { Instance } from './instance.ts'
import { mibOf, type Consumer } from './instance-usage.ts'
import type { UsageSampler } from './usage-sampler.ts'

/** One that took as long, or that is its Instance's first, has its memory read at its end, beside the answer: a process writes 10 to 40 MiB in that time, and a reading
 *  takes 0.1 ms. For a shorter one the last reading has to do. */
const measuredMsMin = 10

/** What one execution used, as far as it was read. */
export class ExecutionUse implements Consumer {
  readonly #sampler: Pick<UsageSampler, 'takeOne'>
  #peaks: UsagePeaks | null = null
  #isMeasured = false

  constructor(sampler: Pick<UsageSampler, 'takeOne'>) {
    this.#sampler = sampler
  }

  noteUsage({ memoryPeakBytes, ephemeralBytes }: Usage): void {
    this.#peaks = {
      memoryPeakMib: Math.max(this.#peaks?.memoryPeakMib ?? 0, mibOf(memoryPeakBytes)),
      ephemeralBytesPeak: Math.max(this.#peaks?.ephemeralBytesPeak ?? 0, ephemeralBytes),
    }
  }

  /** At its end, while it still counts among what `instance` runs. Resolves when its use has been read, or cannot be; null when it is not worth it, or was done. */
  measure(instance: Instance | null, of: { isFirst: boolean; durationMs: number }): Promise<unknown> | null {
    if (this.#isMeasured || instance === null || instance.isDead) return null
    // An Instance's first need not be the one that it was started for, which may have found another.
    const isFirst = of.isFirst || instance.invocations === 1
    if (!isFirst && of.durationMs < measuredMsMin) return null
    if (!this.#sampler.takeOne()) return null
    this.#isMeasured = true
    return instance.usage.readSoon()
  }

  /** What was used at most on `instance`. */
  peaks(instance: Instance | null, crashReason: CrashReason | null | undefined): UsagePeaks {
    const { memoryMib = 0, ephemeralBytes = 0 } = instance?.usage ?? {}
    const used = this.#peaks ?? { memoryPeakMib: memoryMib, ephemeralBytesPeak: ephemeralBytes }
    if (crashReason !== 'oom') return used
    return { ...used, memoryPeakMib: Math.max(used.memoryPeakMib, instance?.version?.config.memoryMib ?? 0) }
  }
}
