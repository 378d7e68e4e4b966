import { CliError } from './cli-error.ts'

/* .hearthignore, in the form of .gitignore: one pattern a line, `#` comments, `!` takes back, a trailing `/` means folders only,
 * a `/` elsewhere ties the pattern to the top, `*` and `?` stay within a name, `**` crosses folders. The last match decides. */

interface Rule {
  readonly matches: RegExp
  readonly isFolderOnly: boolean
  readonly isTakenBack: boolean
}

/** Left out whatever the file says: history, the platform's own data, the list itself. */
const always = ['.git/', '.hearth/', '/.hearthignore', '.DS_Store']

/** Whether a path (relative to the top, `/` between names) is left out. What lies in a folder that is left out is never asked about. */
export type Ignores = (path: string, isFolder: boolean) => boolean

/** Throws CliError for a line that is no pattern. */
export function parseIgnore(text: string): Ignores {
  const own = text
    .split(/\r?\n/)
    .map((line, index) => ({ line: line.trimEnd(), number: index + 1 }))
    .filter(({ line }) => line !== '' && !line.startsWith('#'))
  const rules = [...own.map(parseOwn), ...always.map(parseRule)]
  return (path, isFolder) => {
    const match = rules.findLast((rule) => (isFolder || !rule.isFolderOnly) && rule.matches.test(path))
    return match !== undefined && !match.isTakenBack
  }
}

function parseOwn({ line, number }: { line: string; number: number }): Rule {
  try {
    return parseRule(line)
  } catch (cause) {
    const range = 'between [ and ] it takes single characters and ranges from lower to higher'
    throw new CliError(`Invalid pattern "${line}" in line ${number} of .hearthignore: ${range}.`, { cause })
  }
}

function parseRule(line: string): Rule {
  const isTakenBack = line.startsWith('!')
  const body = line.replace(/^!/, '').replace(/^\\(?=[#!])/, '')
  const isFolderOnly = body.endsWith('/')
  const pattern = body.replace(/\/+$/, '')
  const isTied = pattern.includes('/')
  const start = isTied ? '^' : '^(?:.*/)?'
  return { matches: new RegExp(`${start}${globToRegExp(pattern.replace(/^\//, ''))}$`), isFolderOnly, isTakenBack }
}

function globToRegExp(glob: string): string {
  return glob.replaceAll(/\*\*\/|\/\*\*$|\*\*|\*|\?|\[!?[^\]]+\]|\\.|[.+^${}()|[\]\\]/g, (part) => {
    if (part === '**/') return '(?:.*/)?'
    if (part === '/**') return '/.*'
    if (part === '**') return '.*'
    if (part === '*') return '[^/]*'
    if (part === '?') return '[^/]'
    if (part.length > 2 && part.startsWith('[')) return part.replace(/^\[!/, '[^')
    return part.startsWith('\\') && part.length === 2 ? `\\${part[1]}` : `\\${part}`
  })
}
