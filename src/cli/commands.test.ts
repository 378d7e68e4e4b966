import assert from 'node:assert/strict'
import { test } from 'node:test'
import { routes } from '@hearth/sdk'
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

test('key create: its help names every scope that a route asks for', () => {
  const help = helpOf('key create', { commands, version: '1' }).replaceAll(/\s+/g, ' ')
  const scopes = Object.values(routes).flatMap(({ scope }) => scope ?? [])
  for (const scope of new Set(scopes)) assert.ok(help.includes(scope), scope)
})
