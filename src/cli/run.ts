import type { HearthClient } from '@hearth/sdk'
import type { Command } from './command.ts'
import { complete } from './completion.ts'
import { connect } from './connect.ts'
import type { Context } from './context.ts'
import { describeFailure } from './failure.ts'
import { createOutput, type Output, type Sink } from './output.ts'
import { parse, Usage, type ParsedCall } from './program.ts'
import { findServer, type Server } from './server.ts'

/** Everything the CLI knows of the world. */
export interface World {
  readonly argv: readonly string[]
  readonly commands: readonly Command[]
  readonly version: string
  /** Folder of the application. */
  readonly root: string
  readonly env: Readonly<Record<string, string | undefined>>
  readonly cwd: string
  readonly stdin: NodeJS.ReadableStream & { readonly isTTY?: boolean }
  readonly stdout: Sink
  readonly stderr: Sink
  /** A signal that Ctrl-C aborts, from the call on. */
  readonly interrupt: () => AbortSignal
}

/** Runs one command line; resolves with the exit code and never rejects. */
export async function run(world: World): Promise<number> {
  const [first, ...words] = world.argv
  if (first === '__complete') return printCompletions(world, words)
  const isJson = world.argv.includes('--json')
  const output = createOutput({ stdout: world.stdout, stderr: world.stderr, env: world.env, isJson })
  const usage: string[] = []
  try {
    const call = parse(world.argv.length === 0 ? ['--help'] : world.argv, {
      commands: world.commands,
      version: world.version,
      out: (text) => output.result(text),
      err: (text) => (isJson ? usage.push(text.trim()) : output.note(text.trimEnd())),
      hasColors: world.stdout.isTTY === true,
    })
    return (await call.command.run(createContext(world, call, output), call as never)) ?? 0
  } catch (error) {
    if (error instanceof Usage) {
      if (usage.length > 0) output.note(JSON.stringify({ error: usageError(usage) }))
      return error.exitCode
    }
    return reportFailure(error, output)
  }
}

/** What commander says of a wrong command line, in the form of every other failure. */
function usageError(lines: readonly string[]): Record<string, unknown> {
  const message = lines
    .join(' ')
    .replace(/^hearth: /, '')
    .replaceAll(/\s+/g, ' ')
  return { code: 'invalid', message }
}

function createContext(world: World, call: ParsedCall, output: Output): Context {
  const text = (name: string): string | undefined => {
    const value = call.flags[name]
    return typeof value === 'string' ? value : undefined
  }
  let server: Promise<Server> | undefined
  let client: Promise<HearthClient> | undefined
  const context: Context = {
    output,
    env: world.env,
    cwd: world.cwd,
    stdin: world.stdin,
    commands: world.commands,
    version: world.version,
    project: text('project'),
    interrupt: world.interrupt,
    server: async () => (server ??= findServer({ ...world, url: text('url'), apiKey: text('api-key') })),
    client: async () => (client ??= connect(await context.server(), { env: world.env, project: text('project') })),
  }
  return context
}

function reportFailure(error: unknown, output: Output): number {
  const failure = describeFailure(error)
  if (output.isJson) output.note(JSON.stringify({ error: failure.data }))
  else {
    output.note(`${output.paintNote('red', 'hearth:')} ${failure.message}`)
    if (failure.hint !== undefined) output.note(failure.hint)
  }
  return failure.exitCode
}

/** Answers the shell: one completion a line, or what kind of name the shell itself should complete. Never fails. */
async function printCompletions(world: World, words: readonly string[]): Promise<number> {
  const found = complete(world.commands, words)
  const last = words.at(-1) ?? ''
  if (typeof found !== 'string') {
    for (const { text, about } of found) world.stdout.write(about === '' ? `${text}\n` : `${text}\t${about}\n`)
  } else if (found === 'file' || found === 'folder') world.stdout.write(`:${found}s\n`)
  else {
    const names = await namesOf(world, found).catch((): readonly string[] => [])
    for (const name of names) if (name.startsWith(last)) world.stdout.write(`${name}\n`)
  }
  return 0
}

/** Of what the server knows. */
async function namesOf(world: World, kind: 'function' | 'project'): Promise<readonly string[]> {
  const server = await findServer({ ...world, url: undefined, apiKey: undefined })
  const client = await connect(server, { env: world.env, project: undefined })
  const { items } = kind === 'function' ? await client.listFunctions({ limit: 100 }) : await client.listProjects({})
  return items.map(({ name }) => name)
}
