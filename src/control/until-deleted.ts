import type { LogLine } from '../domain/agent.ts'
import { AppError } from '../domain/error.ts'

/** The lines of a function's log as they come. They end with the function, which is told as an error, or when `signal` says so.
 *  Throws not_found (deleted). */
export async function* untilDeleted(
  name: string,
  { lines, signal }: { lines: AsyncIterable<LogLine>; signal: AbortSignal },
): AsyncGenerator<LogLine> {
  yield* lines
  if (!signal.aborted) throw deleted(name)
}

export function deleted(name: string): AppError {
  return new AppError('not_found', `Function "${name}" was deleted.`)
}
