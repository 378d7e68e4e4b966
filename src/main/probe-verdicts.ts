import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import type { Logger } from '../domain/logger.ts'

/** Whoever repairs a machine without a reboot starts again after a day at most, or asks `hearth doctor`, which tries everything anew. */
const verdictMsMax = 24 * 60 * 60_000

interface Verdict {
  readonly why: string
  /** Epoch ms. */
  readonly at: number
}

/** What failed on this machine since it booted, for all data folders: a KVM that hangs costs 5 s each time it is tried. What works is not kept:
 *  that is found out by booting, every time. */
export class ProbeVerdicts {
  readonly #file: string
  readonly #logger: Logger
  readonly #bootId: string

  constructor(folder: string, logger: Logger) {
    this.#file = path.join(folder, 'failed.json')
    this.#logger = logger
    this.#bootId = readBootId()
  }

  /** Why `what` failed before; null when it did not, or that is too long ago. */
  failureOf(what: string): string | null {
    const verdict = this.#read()[this.#key(what)]
    return verdict === undefined || Date.now() - verdict.at > verdictMsMax ? null : verdict.why
  }

  /** Costs only time when it cannot be written. */
  failed(what: string, why: string): void {
    const current = Object.entries(this.#read()).filter(([key]) => key.startsWith(`${this.#bootId} `))
    const verdicts = { ...Object.fromEntries(current), [this.#key(what)]: { why, at: Date.now() } }
    const draft = `${this.#file}.${process.pid}`
    try {
      mkdirSync(path.dirname(this.#file), { recursive: true })
      writeFileSync(draft, JSON.stringify(verdicts))
      renameSync(draft, this.#file)
    } catch (error) {
      this.#logger.debug('probe.verdict.skipped', { file: this.#file, error: String(error) })
    }
  }

  clear(): void {
    try {
      rmSync(this.#file, { force: true })
    } catch (error) {
      this.#logger.debug('probe.verdict.kept', { file: this.#file, error: String(error) })
    }
  }

  #key(what: string): string {
    return `${this.#bootId} ${process.getuid?.()} ${what}`
  }

  #read(): Readonly<Record<string, Verdict>> {
    try {
      const value: unknown = JSON.parse(readFileSync(this.#file, 'utf8'))
      if (typeof value !== 'object' || value === null) return {}
      return Object.fromEntries(
        Object.entries(value).filter((entry): entry is [string, Verdict] => isVerdict(entry[1])),
      )
    } catch {
      return {} // None yet, or one that was written half: everything is tried.
    }
  }
}

function isVerdict(value: unknown): value is Verdict {
  if (typeof value !== 'object' || value === null) return false
  return 'why' in value && typeof value.why === 'string' && 'at' in value && typeof value.at === 'number'
}

function readBootId(): string {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
  } catch {
    return 'unknown'
  }
}
