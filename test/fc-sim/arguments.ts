/* Command lines as Firecracker and its jailer read them: `--name value`, never `--name=value`; nothing twice, nothing unknown.
 * Source: Firecracker docs/jailer, `firecracker --help`. */

export interface Argument {
  readonly name: string
  readonly kind: 'flag' | 'value' | 'values'
  readonly isRequired?: boolean
  readonly initial?: string
  readonly forbids?: string
  readonly requires?: string
}

export class ArgumentError extends Error {}

export class Arguments {
  readonly #given: ReadonlyMap<string, readonly string[]>
  readonly #known: readonly Argument[]
  /** What follows `--`. */
  readonly extra: readonly string[]

  constructor(known: readonly Argument[], given: ReadonlyMap<string, readonly string[]>, extra: readonly string[]) {
    this.#known = known
    this.#given = given
    this.extra = extra
  }

  has(name: string): boolean {
    return this.#given.has(name)
  }

  value(name: string): string | null {
    return this.#given.get(name)?.[0] ?? this.#known.find((each) => each.name === name)?.initial ?? null
  }

  values(name: string): readonly string[] {
    return this.#given.get(name) ?? []
  }
}

/** Throws ArgumentError with the sentence that the real parser has. */
export function parseArguments(argv: readonly string[], known: readonly Argument[]): Arguments {
  const end = argv.indexOf('--')
  const own = end < 0 ? argv : argv.slice(0, end)
  const extra = end < 0 ? [] : argv.slice(end + 1)
  // These two count alone, whatever else is there.
  for (const name of ['help', 'version'])
    if (own.includes(`--${name}`)) return new Arguments(known, new Map([[name, []]]), extra)
  const given = readArguments(own, known)
  for (const { name, isRequired, requires, forbids } of known) {
    if (isRequired === true && !given.has(name)) throw missing(name)
    if (!given.has(name)) continue
    if (requires !== undefined && !given.has(requires)) throw missing(requires)
    if (forbids !== undefined && given.has(forbids))
      throw new ArgumentError(`Argument '${forbids}' cannot be used together with argument '${name}'.`)
  }
  return new Arguments(known, given, extra)
}

function readArguments(argv: readonly string[], known: readonly Argument[]): Map<string, string[]> {
  const given = new Map<string, string[]>()
  for (let at = 0; at < argv.length; at++) {
    const word = argv[at] ?? ''
    const argument = known.find(({ name }) => word === `--${name}`)
    if (argument === undefined)
      throw new ArgumentError(`Found argument '${word}' which wasn't expected, or isn't valid in this context.`)
    const { name, kind } = argument
    const before = given.get(name)
    if (before !== undefined && kind !== 'values')
      throw new ArgumentError(`The argument '${name}' was provided more than once.`)
    if (kind === 'flag') {
      given.set(name, [])
      continue
    }
    const value = argv[++at]
    if (value === undefined || value.startsWith('--'))
      throw new ArgumentError(`The argument '${name}' requires a value, but none was supplied.`)
    given.set(name, [...(before ?? []), value])
  }
  return given
}

function missing(name: string): ArgumentError {
  return new ArgumentError(`Argument '${name}' required, but not found.`)
}

/** What both programs take as the name of a machine. */
export function checkId(id: string): string {
  if (!/^[\p{L}\p{N}-]{1,64}$/u.test(id))
    throw new ArgumentError(`Invalid instance ID "${id}": 1 to 64 letters, digits and hyphens.`)
  return id
}
