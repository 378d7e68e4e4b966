import { globalFlags, type Command, type Completes, type Flag } from './command.ts'

/* Completion asks the program itself: the shell scripts are a few lines that call `hearth __complete WORDS...`. */

/** Scripts by shell; each passes the words before the cursor and the one under it. */
export const completionScripts = {
  bash: `_hearth() {
  local IFS=$'\\n'
  COMPREPLY=($(hearth __complete "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null | cut -f1))
  case "\${COMPREPLY[*]}" in
    :files) COMPREPLY=($(compgen -f -- "\${COMP_WORDS[COMP_CWORD]}")) ;;
    :folders) COMPREPLY=($(compgen -d -- "\${COMP_WORDS[COMP_CWORD]}")) ;;
  esac
}
complete -o filenames -F _hearth hearth
`,
  zsh: `#compdef hearth
_hearth() {
  local -a found
  found=("\${(@f)$(hearth __complete "\${(@)words[2,CURRENT]}" 2>/dev/null)}")
  case "$found[1]" in
    :files) _files ;;
    :folders) _files -/ ;;
    *) compadd -- "\${(@)found%%$'\\t'*}" ;;
  esac
}
compdef _hearth hearth
`,
  fish: `function __hearth
  set -l words (commandline -opc) (commandline -ct)
  set -l found (hearth __complete $words[2..-1] 2>/dev/null)
  switch "$found[1]"
    case :files
      __fish_complete_path (commandline -ct)
    case :folders
      __fish_complete_directories (commandline -ct)
    case '*'
      printf '%s\\n' $found
  end
end
complete -c hearth -f -a '(__hearth)'
`,
} as const

export type Shell = keyof typeof completionScripts

export interface Completion {
  readonly text: string
  readonly about: string
}

/** What may stand at the last of `words`: texts, or the kind of name that the shell or the server knows. */
export function complete(commands: readonly Command[], words: readonly string[]): readonly Completion[] | Completes {
  const last = words.at(-1) ?? ''
  const before = words.slice(0, -1)
  const command = commands.find(({ name }) => isPrefix(name.split(' '), before))
  if (command === undefined) return startingWith(nextWords(commands, before), last)
  const flags: Record<string, Flag> = { ...command.flags, ...globalFlags }
  const [, previous] = /^--(.+)$/.exec(before.at(-1) ?? '') ?? []
  const flag = previous === undefined ? undefined : flags[previous]
  if (flag !== undefined && flag.type !== 'boolean') return valuesOf(flag, last)
  if (last.startsWith('-')) {
    const all = Object.entries(flags).map(([name, { about }]) => ({ text: `--${name}`, about }))
    return startingWith(all, last)
  }
  const position = positionOf(flags, before.slice(command.name.split(' ').length))
  return Object.values(command.args)[position]?.completes ?? []
}

function valuesOf(flag: Flag, last: string): readonly Completion[] | Completes {
  if (flag.type !== 'text') return []
  if (flag.allowed === undefined) return flag.completes ?? []
  return startingWith(
    flag.allowed.map((text) => ({ text, about: '' })),
    last,
  )
}

/** How many positional arguments stand before the cursor. */
function positionOf(flags: Readonly<Record<string, Flag>>, words: readonly string[]): number {
  let position = 0
  for (let index = 0; index < words.length; index++) {
    const word = words[index] ?? ''
    if (!word.startsWith('--')) position++
    else if (!word.includes('=') && flags[word.slice(2)]?.type !== 'boolean') index++
  }
  return position
}

function nextWords(commands: readonly Command[], before: readonly string[]): readonly Completion[] {
  const found = new Map<string, string>()
  for (const { name, summary } of commands) {
    const path = name.split(' ')
    const next = path[before.length]
    if (next === undefined || !isPrefix(before, path)) continue
    found.set(next, path.length === before.length + 1 ? summary : '')
  }
  return [...found].map(([text, about]) => ({ text, about }))
}

function startingWith(all: readonly Completion[], prefix: string): readonly Completion[] {
  return all.filter(({ text }) => text.startsWith(prefix))
}

function isPrefix(prefix: readonly string[], words: readonly string[]): boolean {
  return prefix.length <= words.length && prefix.every((word, index) => words[index] === word)
}
