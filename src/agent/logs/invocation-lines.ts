import type { ExecuteRequest } from '../../domain/agent.ts'
import type { FunctionError } from '../../domain/invocation.ts'
import { limits } from '../../domain/limits.ts'
import type { FunctionLog } from './function-log.ts'
import { lastBytes } from './last-bytes.ts'
import { oneLine, reportLine } from './report-line.ts'

const messageCharsMax = 4_096
const stackLinesMax = 20
const stackCharsMax = 512

/** The platform's own lines of one invocation in the function's log, and the tail of all its lines for a caller who wants that. */
export class InvocationLines {
  readonly #log: FunctionLog
  readonly #request: ExecuteRequest
  #tail: string | null
  #prefix = ''

  constructor(log: FunctionLog, request: ExecuteRequest) {
    this.#log = log
    this.#request = request
    this.#tail = request.wantLogTail ? '' : null
  }

  /** Null when nobody wants it. */
  get tail(): string | null {
    return this.#tail
  }

  /** It has `instance`. Times are epoch ms. */
  begin(instance: string, time: number): void {
    const { invocationId, version } = this.#request
    this.#prefix = `\tp\t${invocationId}\t${instance}\t`
    this.#write(time, `START RequestId: ${invocationId} Version: ${version.number}`)
  }

  /** `problem`: why it has no result. One that is the code's own (`isOwn`) has its type and its stack beside its words: nothing else need have printed them. */
  end(time: number, problem: FunctionError | null, { isOwn = false } = {}): void {
    const { invocationId } = this.#request
    if (problem !== null) {
      const { errorType, errorMessage, stackTrace } = problem
      const text = oneLine(isOwn ? `${errorType}: ${errorMessage}` : errorMessage).slice(0, messageCharsMax)
      this.#write(time, `RequestId: ${invocationId} Error: ${text}`)
      const stack = isOwn
        ? stackTrace.flatMap((line) => line.split(/[\r\n]+/)).filter((line) => line.trim() !== '')
        : []
      for (const line of stack.slice(0, stackLinesMax)) this.#write(time, `    ${line.trim().slice(0, stackCharsMax)}`)
    }
    this.#write(time, `END RequestId: ${invocationId}`)
  }

  report(time: number, of: { durationMs: number; peakMib: number; initMs: number | undefined }): void {
    const { invocationId, version } = this.#request
    this.#write(time, reportLine(invocationId, { ...of, memoryMib: version.config.memoryMib }))
  }

  /** A line of its output. */
  note(text: string): void {
    if (this.#tail !== null) this.#tail = lastBytes(`${this.#tail}${text}\n`, limits.logTailBytes)
  }

  #write(time: number, text: string): void {
    this.#log.appendRecords(`${time}${this.#prefix}${text}\n`)
    this.note(text)
  }
}
