import { join } from 'node:path'
import type { Agent, LogLine } from '../../domain/agent.ts'
import type { Clock } from '../../domain/clock.ts'
import { invalid } from '../../domain/error.ts'
import { namePattern } from '../../domain/limits.ts'
import type { Logger } from '../../domain/logger.ts'
import { FunctionLog } from './function-log.ts'
import { oneLine } from './report-line.ts'
import type { SegmentLimits } from './segments.ts'

/** 32 MiB a function: about 100,000 lines of ordinary length. */
const defaultLimits: SegmentLimits = { segmentBytes: 4 * 1024 * 1024, segmentsMax: 8 }
const tailLinesMax = 10_000

/** The logs of this node's functions: `folder`/project/function/<start offset>.log. */
export class FunctionLogs {
  readonly #folder: string
  readonly #options: { clock: Clock; logger: Logger; limits: SegmentLimits }
  readonly #logs = new Map<string, FunctionLog>()

  constructor(folder: string, options: { clock: Clock; logger: Logger; limits?: SegmentLimits }) {
    this.#folder = folder
    this.#options = { limits: defaultLimits, ...options }
  }

  of(project: string, functionName: string): FunctionLog {
    const key = `${project}/${functionName}`
    const known = this.#logs.get(key)
    if (known !== undefined) return known
    for (const [field, name] of Object.entries({ project, functionName }))
      if (!namePattern.test(name)) throw invalid(field, name, namePattern.source)
    const log = new FunctionLog(join(this.#folder, project, functionName), this.#options)
    this.#logs.set(key, log)
    return log
  }

  /** The part of the Agent interface that is about logs. */
  readonly service: Agent['logs'] = {
    tail: async (project, functionName, lines): Promise<readonly LogLine[]> =>
      this.of(project, functionName).tail(Math.min(lines, tailLinesMax)),
    follow: (project, functionName, { fromOffset, signal }): AsyncIterable<LogLine> =>
      this.of(project, functionName).follow(fromOffset, signal),
    note: (project, functionName, { invocation, text }): void =>
      this.of(project, functionName).append(this.#options.clock.nowMs(), 'p', {
        invocation,
        instance: '-',
        text: oneLine(`RequestId: ${invocation} Error: ${text}`),
      }),
    delete: async (project, functionName): Promise<void> => {
      const log = this.of(project, functionName)
      // Whoever still holds it says what he says to nobody.
      this.#logs.delete(`${project}/${functionName}`)
      await log.delete()
    },
  }

  /** Resolves when everything appended is on disk. */
  async flush(): Promise<void> {
    await Promise.all([...this.#logs.values()].map((log) => log.flush()))
  }
}
