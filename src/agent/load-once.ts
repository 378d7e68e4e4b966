import { AppError, invalid } from '../domain/error.ts'
import type { Version } from '../domain/function.ts'
import { startFailedType } from '../domain/invocation.ts'
import type { Failure } from './failures.ts'
import type { GroupHost } from './group-host.ts'
import type { Instance } from './instance.ts'
import type { FunctionLog } from './logs/function-log.ts'

/** What starting takes of the agent around it. */
type StartHost = Pick<GroupHost, 'clock' | 'reserve' | 'release' | 'makeStart' | 'onStartOver'>

/** Lines of a stack that a message carries; the function's log has all of it. */
const stackLinesMax = 8

/** Last lines that it printed. */
const printedLinesMax = 10
const printedCharsMax = 300
/** Others may write to the function's log meanwhile. */
const readLinesMax = 500
/** A program that ended takes its Instance along. Asked before that is over, its supervisor could have its last words cut off. */
const endShowsMs = 100

/** Starts an Instance of `version` and ends it when it is ready: shows that the code loads, with the network, secrets and limits it will have.
 *  Throws invalid with the code's own error, capacity (no memory), driver_failed when the sandbox itself fails. */
export async function loadOnce(version: Version, host: StartHost, log: FunctionLog): Promise<void> {
  const { functionName, config } = version
  const { memoryMib } = config
  if (!host.reserve(version)) {
    const message = `Cannot load "${functionName}" once before it goes live: this node has no ${memoryMib} MiB left. Try again, or deploy without the check (--no-check, mustLoad=false).`
    throw new AppError('capacity', message, { retryAfterMs: 1_000 })
  }
  try {
    await startAndEnd(version, host, log)
  } finally {
    host.release(memoryMib)
    host.onStartOver()
  }
}

async function startAndEnd(version: Version, host: StartHost, log: FunctionLog): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const start = host.makeStart(version, {
      cause: 'first',
      group: { live: { size: 0 }, dueMs: Infinity },
      takeEarly: () => null,
      onStarted: (_start, instance) => {
        instance.owner = null
        void instance.kill().then(() => resolve())
      },
      onFailed: async ({ instance }, failure) => {
        const printed = instance === null ? [] : await lastLines(instance, host, log).catch(() => [])
        reject(loadError(failure, printed))
      },
    })
    start.begin()
  })
}

async function lastLines(instance: Instance, { clock }: StartHost, log: FunctionLog): Promise<string[]> {
  const over = Promise.withResolvers<void>()
  const timer = clock.schedule(endShowsMs, () => over.resolve())
  await Promise.race([instance.dead, over.promise])
  timer.cancel()
  if (!instance.isDead) await instance.outputBarrier()
  instance.flushOutput()
  const lines = await log.tail(readLinesMax)
  const own = lines.filter((line) => line.instance === instance.id && line.stream !== 'platform')
  return own.slice(-printedLinesMax).map(({ text }) => text.slice(0, printedCharsMax))
}

function loadError({ error: { errorType, errorMessage, stackTrace } }: Failure, printed: readonly string[]): AppError {
  if (errorType === startFailedType) return new AppError('driver_failed', `Cannot start the code: ${errorMessage}`)
  // How the runtime came to load it says nothing about the code.
  const own = stackTrace.filter((line) => !line.includes('node:internal/'))
  const stack = own.slice(0, stackLinesMax).map((line) => `\n  ${line}`)
  const output = printed.length === 0 ? '' : `\nIt printed:${printed.map((line) => `\n  ${line}`).join('')}`
  const message = `The code does not load: ${errorType}: ${errorMessage}${stack.join('').trimEnd()}${output}`
  return invalid('code', undefined, 'code that loads', message)
}
