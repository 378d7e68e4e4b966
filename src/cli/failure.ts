import { CliError } from './cli-error.ts'
import { exitCodeOf, exitCodes } from './exit-codes.ts'
import { startHint } from './server.ts'

/** A failure as the user sees it. */
export interface Failure {
  readonly message: string
  readonly hint: string | undefined
  readonly exitCode: number
  /** With `--json`: what is under `error`. */
  readonly data: Readonly<Record<string, unknown>>
}

/** What to say about anything thrown: the CLI's own errors, the API's, and bugs. */
export function describeFailure(error: unknown): Failure {
  if (error instanceof CliError) {
    const { message, hint, exitCode } = error
    return { message, hint, exitCode, data: { code: codeOf(exitCode), message, ...(hint !== undefined && { hint }) } }
  }
  // By name, so that commands which never talk to a platform start without the SDK.
  if (error instanceof Error && error.name === 'HearthError') return describeApiError(error as ApiError)
  const message = error instanceof Error ? error.message : String(error)
  const hint = error instanceof Error && process.env['NODE_DEBUG'] !== undefined ? error.stack : undefined
  return {
    message: `Internal error: ${message}`,
    hint,
    exitCode: exitCodes.internal,
    data: { code: 'internal', message },
  }
}

type ApiError = Error & {
  readonly code: string
  readonly field?: string
  readonly value?: unknown
  readonly allowed?: string
  readonly retryable: boolean
  readonly invocationId?: string
}

function describeApiError(error: ApiError): Failure {
  const { code, message, field, value, allowed, retryable, invocationId } = error
  const data = { code, message, field, value, allowed, retryable, invocationId }
  return { message, hint: hintFor(error), exitCode: exitCodeOf(code), data }
}

function hintFor({ code, field }: ApiError): string | undefined {
  switch (code) {
    case 'unreachable':
      // One that took part of a body is there.
      return field === 'body' ? undefined : startHint
    case 'unauthorized':
      return 'Check HEARTH_API_KEY or --api-key; "hearth key create" makes a new key.'
    case 'forbidden':
      return 'The key has no scope for this: "hearth key list" shows what keys have.'
    case 'invalid': {
      const flag = field === undefined ? undefined : flagsByField[field]
      return flag === undefined ? undefined : `Set it with ${flag}.`
    }
    default:
      return undefined
  }
}

/** API fields have their units in their names; flags are in MB and seconds. */
const flagsByField: Readonly<Record<string, string>> = {
  memoryMib: '--memory MB',
  timeoutMs: '--timeout S',
  'Hearth-Timeout-Ms': '--timeout S',
  ephemeralMib: '--ephemeral MB',
  concurrency: '--concurrency N',
  initTimeoutMs: '--init-timeout S',
  keepAliveMs: '--keep-alive S',
  freezeAfterMs: '--freeze-after MS',
  env: '--env NAME=VALUE',
  secrets: '--secret NAME=SECRET',
  permissions: '--permission SCOPE',
  runtime: '--runtime NAME ("hearth runtime list" shows them)',
  handler: '--handler FILE.FUNCTION',
  network: '--network none|egress',
  isolation: '--isolation auto|process|vm',
  reuse: '--reuse sequential|never',
  snapshot: '--snapshot function|runtime|none',
  arch: '--arch x86_64|arm64',
  description: '--description TEXT',
  'quotas.functionsMax': '--max-functions N',
  'quotas.concurrencyMax': '--max-concurrency N',
}

function codeOf(exitCode: number): string {
  return Object.entries(exitCodes).find(([, code]) => code === exitCode && exitCode !== 0)?.[0] ?? 'internal'
}
