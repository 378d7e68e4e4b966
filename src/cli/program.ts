import {
  Argument as CommanderArgument,
  Command as Program,
  CommanderError,
  InvalidArgumentError,
  Option,
} from 'commander'
import { type Argument, type Command, type Flag, globalFlags } from './command.ts'
import { exitCodeMeanings } from './exit-codes.ts'

/** What `hearth GROUP` is about: heads its help and its section of the reference. */
export const groups: Readonly<Record<string, string>> = {
  alias: 'Names for versions',
  audit: 'What was changed, by whom',
  function: 'Deploy, call and look after functions',
  image: 'File systems that microVMs boot from',
  invocation: 'Receipts: what became of each call',
  kernel: 'What microVMs boot',
  key: 'Credentials and what they may do',
  layer: 'Files that several functions share, below /opt',
  node: 'Machines that run functions',
  project: 'Name spaces with keys and quotas apart',
  runtime: 'Interpreters that functions run on',
  secret: 'Values handed to functions, sealed at rest',
  storage: 'Files in buckets, under s3:// addresses',
  version: 'What was deployed before',
}

export interface ParsedCall {
  readonly command: Command
  readonly args: Record<string, string | undefined>
  readonly flags: Record<string, unknown>
}

/** Thrown by `parse` when there is nothing to run: help or version was printed (code 0), or the usage is wrong (code 2). */
export class Usage extends Error {
  readonly exitCode: number
  constructor(exitCode: number) {
    super('usage')
    this.exitCode = exitCode
  }
}

export interface ProgramOptions {
  readonly commands: readonly Command[]
  readonly version: string
  readonly out: (text: string) => void
  readonly err: (text: string) => void
  readonly hasColors: boolean
}

/** Reads `argv` by the commands' data. Unknown commands and flags are refused with the nearest known one. Throws Usage. */
export function parse(argv: readonly string[], options: ProgramOptions): ParsedCall {
  let call: ParsedCall | undefined
  const program = buildProgram(options, (parsed) => (call = parsed))
  try {
    program.parse(flagsBehind(argv, options.commands), { from: 'user' })
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error
    throw new Usage(error.exitCode === 0 ? 0 : 2)
  }
  if (call === undefined) throw new Usage(2)
  return call
}

/** `--json function list` as `function list --json`: flags of every command may also come ahead of it. */
function flagsBehind(argv: readonly string[], commands: readonly Command[]): string[] {
  let at = 0
  for (let part = argv[0]; part !== undefined && part.startsWith('--'); part = argv[at]) {
    const flag = Object.entries(globalFlags).find(([name]) => part === `--${name}` || part?.startsWith(`--${name}=`))
    if (flag === undefined) break
    at += flag[1].type === 'boolean' || part.includes('=') ? 1 : 2
  }
  const [ahead, rest] = [argv.slice(0, at), argv.slice(at)]
  const names = commands.map(({ name }) => name.split(' '))
  const fit = names.filter((words) => words.every((word, index) => rest[index] === word))
  const length = Math.max(0, ...fit.map((words) => words.length))
  return length === 0 ? [...argv] : [...rest.slice(0, length), ...ahead, ...rest.slice(length)]
}

/** The whole help text of one command, as `hearth NAME --help` prints it. */
export function helpOf(name: string, options: Omit<ProgramOptions, 'out' | 'err' | 'hasColors'>): string {
  const program = buildProgram({ ...options, out: () => {}, err: () => {}, hasColors: false }, () => {})
  let at = program
  for (const word of name.split(' ')) at = at.commands.find((child) => child.name() === word) ?? at
  return at.helpInformation()
}

/** Groups below a group. */
const nestedGroups: Readonly<Record<string, string>> = { 'function url': 'give functions URLs of their own' }

function buildProgram(options: ProgramOptions, receive: (call: ParsedCall) => void): Program {
  const program = new Program('hearth')
    .description('Serverless on machines you own: functions in sandboxes, one command, a receipt for every call.')
    .version(options.version, '-V, --version', 'print the version')
    // `--version` after a command is that command's own flag.
    .enablePositionalOptions()
    .addHelpText(
      'after',
      `\nExit codes: ${exitCodeMeanings.map(([code, meaning]) => `${code} ${meaning}`).join(', ')}.`,
    )
  configure(program, options)
  const made = new Map<string, Program>()
  for (const command of options.commands) {
    const words = command.name.split(' ')
    const leaf = words.pop() ?? ''
    let parent = program
    for (const [index, word] of words.entries()) {
      const group = words.slice(0, index + 1).join(' ')
      parent = made.get(group) ?? parent.command(word).description(groups[group] ?? nestedGroups[group] ?? '')
      made.set(group, parent)
      configure(parent, options)
    }
    addCommand(parent.command(leaf), command, { options, receive })
  }
  return program
}

function addCommand(
  program: Program,
  command: Command,
  { options, receive }: { options: ProgramOptions; receive: (call: ParsedCall) => void },
): void {
  configure(program, options)
  program.summary(command.summary).description([`${command.summary}.`, ...(command.notes ?? [])].join('\n\n'))
  for (const [name, argument] of Object.entries(command.args)) program.addArgument(toArgument(name, argument))
  for (const [name, flag] of Object.entries(command.flags)) program.addOption(toOption(name, flag))
  for (const [name, flag] of Object.entries(globalFlags))
    if (!(name in command.flags)) program.addOption(toOption(name, flag).helpGroup('Everywhere:'))
  if (command.examples.length > 0)
    program.addHelpText('after', `\nExamples:\n${command.examples.map((line) => `  $ ${line}`).join('\n')}`)
  program.action((...values: unknown[]) => {
    const args = Object.fromEntries(Object.keys(command.args).map((name, index) => [name, values[index]]))
    const flags = readFlags(program, command)
    const missing = Object.entries(command.flags).find(([name, flag]) => isRequired(flag) && flags[name] === undefined)
    // Checked here and not by commander, which would complain of it before an unknown flag, its misspelling.
    if (missing !== undefined)
      program.error(`missing flag '--${missing[0]} <${placeholder(missing[1])}>'`, { exitCode: 2 })
    receive({ command, args: args as ParsedCall['args'], flags })
  })
}

function configure(program: Program, { out, err, hasColors }: ProgramOptions): void {
  program
    .exitOverride()
    .helpCommand(false)
    .helpOption('-h, --help', 'print this help')
    .configureOutput({
      writeOut: out,
      writeErr: err,
      getOutHasColors: () => hasColors,
      outputError: (text, write) => write(`hearth: ${text.trim().replace(/^error: /, '')}\n`),
    })
    .showSuggestionAfterError()
    .showHelpAfterError('(--help shows what it takes)')
}

function toArgument(name: string, { about, optional }: Argument): CommanderArgument {
  return new CommanderArgument(optional === true ? `[${name}]` : `<${name}>`, about)
}

function toOption(name: string, flag: Flag): Option {
  if (flag.type === 'boolean') return new Option(`--${name}`, flag.about)
  const mark = flag.type === 'list' ? ' (repeatable)' : isRequired(flag) ? ' (required)' : ''
  const option = new Option(`--${name} <${flag.value}>`, `${flag.about}${mark}`)
  if (flag.type === 'list') option.argParser<string[] | undefined>((value, all) => [...(all ?? []), value])
  if (flag.type === 'integer') option.argParser((value) => parseInteger(value, flag.min ?? 0))
  if (flag.type === 'text' && flag.allowed !== undefined) option.choices(flag.allowed)
  return option
}

function parseInteger(text: string, min: number): number {
  const value = Number(text)
  if (/^-?\d+$/.test(text) && Number.isSafeInteger(value) && value >= min) return value
  throw new InvalidArgumentError(`Must be a whole number from ${min} on.`)
}

/** Values by the names of the data: commander calls `--no-wait` and `--ready-file` by its own. */
function readFlags(program: Program, command: Command): Record<string, unknown> {
  const values = program.opts<Record<string, unknown>>()
  const flags: Record<string, unknown> = {}
  const all: Readonly<Record<string, Flag>> = { ...globalFlags, ...command.flags }
  for (const [name, flag] of Object.entries(all)) {
    const option = program.options.find((candidate) => candidate.long === `--${name}`)
    const value = option === undefined ? undefined : values[option.attributeName()]
    if (flag.type === 'list') flags[name] = value ?? []
    else if (flag.type !== 'boolean') flags[name] = value
    else flags[name] = option?.negate === true ? value === false : value === true
  }
  return flags
}

function isRequired(flag: Flag): boolean {
  return 'required' in flag && flag.required
}

function placeholder(flag: Flag): string {
  return 'value' in flag ? flag.value : ''
}
