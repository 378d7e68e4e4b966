import assert from 'node:assert/strict'
import { test } from 'node:test'
import { commands } from './commands.ts'
import { groups, helpOf } from './program.ts'

test('commands: names are unique, grouped, and each has a summary, an example that starts with it, and help', () => {
  assert.equal(new Set(commands.map(({ name }) => name)).size, commands.length)
  for (const command of commands) {
    const { name, summary, examples, args, flags } = command
    assert.match(summary, /^[A-Z].*[^.]$/, name)
    assert.ok(
      examples.some((line) => line.includes(`hearth ${name}`)),
      name,
    )
    if (name.includes(' ')) assert.ok(groups[name.split(' ')[0] ?? ''], name)
    const help = helpOf(name, { commands, version: '1' })
    for (const word of [...Object.keys(args), ...Object.keys(flags).map((flag) => `--${flag}`)])
      assert.ok(help.includes(word), `${name}: ${word}`)
  }
})
