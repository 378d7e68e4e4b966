import type { HearthClient } from '@hearth/sdk'
import type { Command } from './command.ts'
import type { Output } from './output.ts'
import type { Server } from './server.ts'

/** What a command may touch: nothing reaches it but through here. */
export interface Context {
  readonly output: Output
  readonly env: Readonly<Record<string, string | undefined>>
  readonly cwd: string
  readonly stdin: NodeJS.ReadableStream & { readonly isTTY?: boolean }
  /** A signal that Ctrl-C aborts, from the call on; without it Ctrl-C ends the command at once. */
  readonly interrupt: () => AbortSignal
  readonly commands: readonly Command[]
  readonly version: string
  /** `--project`, as given. */
  readonly project: string | undefined
  /** The platform to talk to. Throws CliError with the way to start one. */
  readonly server: () => Promise<Server>
  /** A client for it, in the project in use. */
  readonly client: () => Promise<HearthClient>
}
