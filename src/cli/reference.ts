import { globalFlags, type Command, type Flag } from './command.ts'
import { exitCodeMeanings } from './exit-codes.ts'
import { groups } from './program.ts'

/** docs/reference/cli.md, printed from the commands themselves. */
export function cliPage(commands: readonly Command[]): string {
  const sorted = [...commands].sort((a, b) => order(a) - order(b))
  const list = sorted.map(
    ({ name, summary }) => `| [\`hearth ${name}\`](#hearth-${name.replaceAll(' ', '-')}) | ${summary} |`,
  )
  return `# Command line

\`hearth COMMAND\`, from any folder. Results go to stdout, everything else to stderr; colours and progress appear on a terminal only (\`NO_COLOR\` turns colours off).
This page is printed from the commands' own data, as is \`--help\`.

| command | |
|---|---|
${list.join('\n')}

## Flags of every command

${flagTable(globalFlags)}

The server is \`--url\` or \`HEARTH_URL\`, else the running platform of \`.hearth\` in the current folder, in one above it, or beside the program; the key likewise
\`--api-key\`, \`HEARTH_API_KEY\`, or that platform's key file.

## Exit codes

| code | meaning |
|---|---|
${exitCodeMeanings.map(([code, meaning]) => `| ${code} | ${meaning} |`).join('\n')}

${sorted.map(section).join('\n')}`
}

/** Commands without a group first, then group by group, each in the order of its declaration. */
function order({ name }: Command): number {
  return name.includes(' ') ? 1 + Object.keys(groups).indexOf(name.split(' ')[0] ?? '') : 0
}

function section({ name, summary, notes, args, flags, examples }: Command): string {
  const words = Object.entries(args).map(([arg, { optional }]) => (optional === true ? `[${arg}]` : `<${arg}>`))
  const flagWord = Object.keys(flags).length > 0 ? ['[flags]'] : []
  const parts = [
    `## hearth ${name}\n`,
    `\`hearth ${[name, ...words, ...flagWord].join(' ')}\`\n`,
    `${summary}.${(notes ?? []).map((note) => `\n\n${note}`).join('')}\n`,
  ]
  if (words.length > 0)
    parts.push(
      `${Object.entries(args)
        .map(([arg, { about }]) => `- \`${arg}\`: ${about}`)
        .join('\n')}\n`,
    )
  if (flagWord.length > 0) parts.push(`${flagTable(flags)}\n`)
  if (examples.length > 0) parts.push(`\`\`\`\n${examples.join('\n')}\n\`\`\`\n`)
  return parts.join('\n')
}

function flagTable(flags: Readonly<Record<string, Flag>>): string {
  const rows = Object.entries(flags).map(([name, flag]) => {
    const value = flag.type === 'boolean' ? '' : ` ${flag.value}`
    const marks = [isRequired(flag) ? 'required' : '', flag.type === 'list' ? 'repeatable' : ''].filter(Boolean)
    const about = marks.length > 0 ? `${flag.about} (${marks.join(', ')})` : flag.about
    return `| \`--${name}${value.replaceAll('|', '\\|')}\` | ${about.replaceAll('|', '\\|')} |`
  })
  return `| flag | |\n|---|---|\n${rows.join('\n')}`
}

function isRequired(flag: Flag): boolean {
  return 'required' in flag && flag.required
}
