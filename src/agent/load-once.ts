import { AppError, invalid } from '../domain/error.ts'
import type { Version } from '../domain/function.ts'
import { startFailedType } from '../domain/invocation.ts'
import type { Failure } from './failures.ts'
import type { GroupHost } from './group-host.ts'

/** What starting takes of the agent around it. */
type StartHost = Pick<GroupHost, 'reserve' | 'release' | 'makeStart' | 'onStartOver'>

/** Lines of a stack that a message carries; the function's log has all of it. */
const stackLinesMax = 8

/** Starts an Instance of `version` and ends it when it is ready: shows that the code loads, with the network, secrets and limits it will have.
 *  Throws invalid with the code's own error, capacity (no memory), driver_failed when the sandbox itself fails. */
export async function loadOnce(version: Version, host: StartHost): Promise<void> {
  const { functionName, config } = version
  const { memoryMib } = config
  if (!host.reserve(version)) {
    const message = `Cannot load "${functionName}" once before it goes live: this node has no ${memoryMib} MiB left.`
    throw new AppError('capacity', message, { retryAfterMs: 1_000 })
  }
  try {
    await startAndEnd(version, host)
  } finally {
    host.release(memoryMib)
    host.onStartOver()
  }
}

async function startAndEnd(version: Version, host: StartHost): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const start = host.makeStart(version, {
      cause: 'first',
      group: { live: { size: 0 }, dueMs: Infinity },
      takeEarly: () => null,
      onStarted: (_start, instance) => {
        instance.owner = null
        void instance.kill().then(() => resolve())
      },
      onFailed: (_start, failure) => reject(loadError(failure)),
    })
    start.begin()
  })
}

function loadError({ error: { errorType, errorMessage, stackTrace } }: Failure): AppError {
  if (errorType === startFailedType) return new AppError('driver_failed', `Cannot start the code: ${errorMessage}`)
  // How the runtime came to load it says nothing about the code.
  const own = stackTrace.filter((line) => !line.includes('node:internal/'))
  const stack = own.slice(0, stackLinesMax).map((line) => `\n  ${line}`)
  const message = `The code does not load: ${errorType}: ${errorMessage}${stack.join('').trimEnd()}`
  return invalid('code', undefined, 'code that loads', message)
}
