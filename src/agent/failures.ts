import type { AttemptResult } from '../domain/agent.ts'
import type { Exit } from '../domain/driver.ts'
import { toAppError } from '../domain/error.ts'
import type { FunctionConfig } from '../domain/function.ts'
import { startFailedType, type CrashReason, type FunctionError } from '../domain/invocation.ts'

/* What the platform says of an invocation that user code did not end by itself. The types are Lambda's where it has one. */

export interface Failure {
  readonly crashReason: CrashReason | null
  readonly error: FunctionError
}

/** Why an Instance is no more: its exit, or what it did wrong before the platform ended it. */
export interface Death {
  readonly exit: Exit | null
  readonly breach: string | null
}

export function describeDeath({ exit, breach }: Death): Failure {
  if (breach !== null)
    return failure('exit', 'Runtime.ProtocolError', `The runtime broke the guest protocol: ${breach}`)
  if (exit?.oom === true)
    return failure('oom', 'Runtime.OutOfMemory', 'The runtime ran out of memory and was killed. Raise memoryMib.')
  if (exit?.signal != null) return failure('signal', 'Runtime.ExitError', `The runtime exited: signal ${exit.signal}.`)
  return failure('exit', 'Runtime.ExitError', `The runtime exited: exit status ${exit?.code ?? 'unknown'}.`)
}

export function ephemeralFull(ephemeralMib: number, cause: FunctionError): Failure {
  const message = `/tmp is full (${ephemeralMib} MiB): ${cause.errorMessage}. Raise ephemeralMib.`
  return {
    crashReason: 'ephemeral_full',
    error: { ...cause, errorType: 'Runtime.EphemeralFull', errorMessage: message },
  }
}

export function timedOut(afterMs: number): FunctionError {
  return plain('Sandbox.Timedout', `Task timed out after ${(afterMs / 1000).toFixed(2)} seconds.`)
}

export function expired(): FunctionError {
  return plain('Hearth.Expired', 'The deadline passed before an Instance was ready.')
}

export function cancelled(reason: string): FunctionError {
  return plain('Hearth.Cancelled', `Cancelled: ${reason}.`)
}

export function responseTooLarge(bytesMax: number): FunctionError {
  return plain('Function.ResponseSizeTooLarge', `Response payload size exceeded ${bytesMax} bytes.`)
}

export function initTimeout(config: StartConfig): Failure {
  const message = `${awaited(config)} within ${(config.initTimeoutMs / 1000).toFixed(2)} seconds (initTimeoutMs).`
  return failure('init_timeout', 'Sandbox.InitTimedout', message)
}

type StartConfig = Pick<FunctionConfig, 'initTimeoutMs' | 'runtime' | 'contract' | 'command' | 'port'>

/** What did not happen, with the program that was to do it. */
function awaited({ runtime, contract, command, port }: StartConfig): string {
  if (contract === 'handler') return 'The function did not load'
  const defaults = {
    'runtime-api': 'bootstrap',
    http: 'bootstrap or run.sh',
    azure: 'defaultExecutablePath of host.json',
  }
  const own = runtime === 'image' ? "the image's own command" : defaults[contract]
  const program = command.length > 0 ? `"${command.join(' ')}"` : `The program (${own})`
  return contract === 'runtime-api'
    ? `${program} was not ready for its first invocation`
    : `${program} did not accept a connection on port ${port}`
}

export function initError({ phase, ...error }: FunctionError & { phase?: string }): Failure {
  return {
    crashReason: 'init_error',
    error: { ...error, errorMessage: phase ? `${error.errorMessage} (phase ${phase})` : error.errorMessage },
  }
}

/** The code or the platform failed before the event was looked at. Other ends of an Instance that had an event may be that event's doing. */
export function isOfLoading({ crashReason }: Failure): boolean {
  return crashReason === 'init_error' || crashReason === 'init_timeout'
}

/** A start that failed on the platform's side. */
export function startFailed(thrown: unknown): Failure {
  return failure('init_error', startFailedType, toAppError(thrown).message)
}

export const functionGone: NonNullable<AttemptResult['refused']> = {
  code: 'gone',
  message: 'The function was deleted.',
  retryAfterMs: 0,
}

export function noMemory(key: string, memoryMib: number): NonNullable<AttemptResult['refused']> {
  return { code: 'capacity', message: `This node has no ${memoryMib} MiB left for ${key}.`, retryAfterMs: 1_000 }
}

function failure(crashReason: CrashReason, errorType: string, errorMessage: string): Failure {
  return { crashReason, error: plain(errorType, errorMessage) }
}

function plain(errorType: string, errorMessage: string): FunctionError {
  return { errorType, errorMessage, stackTrace: [] }
}
