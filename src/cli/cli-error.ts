import { exitCodes } from './exit-codes.ts'

/** A failure that the CLI itself found: one sentence, and what to do about it. */
export class CliError extends Error {
  override readonly name = 'CliError'
  readonly exitCode: number
  /** Printed on a line of its own. */
  readonly hint: string | undefined

  constructor(message: string, options: { exitCode?: number; hint?: string; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.exitCode = options.exitCode ?? exitCodes.invalid
    this.hint = options.hint
  }
}
