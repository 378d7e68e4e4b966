import type { Context } from './context.ts'

/* A command is data plus one function: help, parsing, completion and docs/reference/cli.md are all made from the data. */

/** What a value names, so that the shell can complete it. */
export type Completes = 'function' | 'project' | 'file' | 'folder'

export interface Argument {
  readonly about: string
  readonly optional?: true
  readonly completes?: Completes
}

export type Flag =
  | { readonly type: 'boolean'; readonly about: string }
  | {
      readonly type: 'text'
      /** Placeholder in help, e.g. `FOLDER`. */
      readonly value: string
      readonly about: string
      readonly required?: true
      readonly allowed?: readonly string[]
      readonly completes?: Completes
    }
  | {
      readonly type: 'integer'
      readonly value: string
      readonly about: string
      readonly required?: true
      readonly min?: number
    }
  | { readonly type: 'list'; readonly value: string; readonly about: string }

export type Arguments = Readonly<Record<string, Argument>>
export type Flags = Readonly<Record<string, Flag>>

type ArgumentValues<A extends Arguments> = {
  readonly [K in keyof A]: A[K] extends { optional: true } ? string | undefined : string
}
type OrUndefined<F extends Flag, T> = F extends { required: true } ? T : T | undefined
type FlagValue<F extends Flag> = F extends { type: 'boolean' }
  ? boolean
  : F extends { type: 'list' }
    ? readonly string[]
    : F extends { type: 'integer' }
      ? OrUndefined<F, number>
      : OrUndefined<F, string>

export interface Input<A extends Arguments = Arguments, F extends Flags = Flags> {
  readonly args: ArgumentValues<A>
  readonly flags: { readonly [K in keyof F]: FlagValue<F[K]> }
}

/** A command as the program, the completion and the reference see it. */
export interface Command {
  /** Words after `hearth`, e.g. `function create`. */
  readonly name: string
  /** One sentence without a full stop. */
  readonly summary: string
  /** What one line cannot say; a paragraph each. */
  readonly notes?: readonly string[]
  readonly args: Arguments
  readonly flags: Flags
  readonly examples: readonly string[]
  /** Exit code, 0 if nothing. Throws CliError and the SDK's errors. */
  run(context: Context, input: Input): Promise<number | void>
}

export interface CommandSpec<A extends Arguments, F extends Flags> extends Omit<Command, 'args' | 'flags' | 'run'> {
  readonly args: A
  readonly flags: F
  run(context: Context, input: Input<A, F>): Promise<number | void>
}

/** Checks `run` against the declared arguments and flags, then forgets them: `program.ts` hands over what the data promises. */
export function defineCommand<const A extends Arguments, const F extends Flags>(spec: CommandSpec<A, F>): Command {
  return { ...spec, run: (context, input) => spec.run(context, input as Input<A, F>) }
}

/** Flags that every command takes. */
export const globalFlags = {
  json: { type: 'boolean', about: 'machine output: one JSON document, or one JSON object a line for streams' },
  url: {
    type: 'text',
    value: 'URL',
    about: 'server; default: HEARTH_URL, else the running platform of the nearest .hearth',
  },
  'api-key': { type: 'text', value: 'KEY', about: 'default: HEARTH_API_KEY, else the key file of that platform' },
  project: {
    type: 'text',
    value: 'NAME',
    about: 'project to work in; default: HEARTH_PROJECT, else "hearth project use"',
    completes: 'project',
  },
} as const satisfies Flags
