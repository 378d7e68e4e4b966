import assert from 'node:assert/strict'
import { test } from 'node:test'
import { defineCommand } from './command.ts'
import { helpOf, parse, Usage, type ProgramOptions } from './program.ts'

const sample = defineCommand({
  name: 'function sample',
  summary: 'A command for tests',
  args: { name: { about: 'function' }, extra: { about: 'more', optional: true } },
  flags: {
    code: { type: 'text', value: 'PATH', about: 'code', required: true },
    mode: { type: 'text', value: 'MODE', about: 'mode', allowed: ['a', 'b'] },
    memory: { type: 'integer', value: 'MB', about: 'memory', min: 1 },
    version: { type: 'integer', value: 'N', about: 'shares its name with a flag of the program' },
    env: { type: 'list', value: 'K=V', about: 'variables' },
    'no-wait': { type: 'boolean', about: 'do not wait' },
    'dry-run': { type: 'boolean', about: 'try' },
  },
  examples: ['hearth function sample x'],
  async run() {},
})

function tryParse(line: string): { call?: ReturnType<typeof parse>; out: string; err: string; code: number } {
  let [out, err] = ['', '']
  const options: ProgramOptions = {
    commands: [sample],
    version: '1.2.3',
    hasColors: false,
    out: (text) => (out += text),
    err: (text) => (err += text),
  }
  try {
    return { call: parse(line.split(' ').filter(Boolean), options), out, err, code: 0 }
  } catch (error) {
    if (!(error instanceof Usage)) throw error
    return { out, err, code: error.exitCode }
  }
}

test('parse: arguments and flags come by the names of the data', () => {
  const { call } = tryParse(
    'function sample f --code ./x --memory 512 --env A=1 --env B=2 --no-wait --version 3 --json',
  )
  assert.equal(call?.command, sample)
  assert.deepEqual(call?.args, { name: 'f', extra: undefined })
  const { code, mode, memory, env, version, json } = call?.flags ?? {}
  assert.deepEqual(
    { code, mode, memory, env, version, json },
    { code: './x', mode: undefined, memory: 512, env: ['A=1', 'B=2'], version: 3, json: true },
  )
  assert.equal(call?.flags['no-wait'], true)
  assert.equal(call?.flags['dry-run'], false)
  assert.deepEqual(tryParse('function sample f --code x').call?.flags['env'], [])
})

test('parse: flags of every command may come ahead of it', () => {
  const { call } = tryParse('--json --url http://x --project=p function sample f --code x')
  assert.deepEqual(
    [call?.flags['json'], call?.flags['url'], call?.flags['project'], call?.flags['code'], call?.args['name']],
    [true, 'http://x', 'p', 'x', 'f'],
  )
  assert.match(tryParse('--json').err, /unknown option '--json'/)
  assert.match(tryParse('--json function').err, /unknown option|Usage/)
  assert.match(tryParse('--code x function sample f').err, /unknown option '--code'/)
})

const mistakes: readonly [string, RegExp][] = [
  ['function sampel f', /unknown command 'sampel'[^]*Did you mean sample\?/],
  ['functoin', /unknown command 'functoin'[^]*Did you mean function\?/],
  ['function sample f --cod x', /unknown option '--cod'[^]*Did you mean --code\?/],
  ['function sample f', /missing flag '--code <PATH>'/],
  ['function sample --code x', /missing required argument 'name'/],
  [
    'function sample f --code x --memory lots',
    /--memory <MB>' argument 'lots' is invalid\. Must be a whole number from 1 on/,
  ],
  ['function sample f --code x --mode c', /Allowed choices are a, b/],
  ['function sample f g h --code x', /too many arguments/],
]
for (const [line, message] of mistakes)
  test(`parse: "${line}" is a usage error that says what is wrong`, () => {
    const { err, code } = tryParse(line)
    assert.equal(code, 2)
    assert.match(err, message)
    assert.match(err, /^hearth: /)
  })

test('parse: help and version are no errors', () => {
  assert.equal(tryParse('--version').out, '1.2.3\n')
  const { out, code } = tryParse('function sample --help')
  assert.equal(code, 0)
  assert.match(out, /A command for tests\./)
  assert.match(out, /\$ hearth function sample x/)
})

test('helpOf: every flag, argument and global flag stands in it', () => {
  const text = helpOf('function sample', { commands: [sample], version: '1' })
  for (const word of [
    '<name>',
    '[extra]',
    ...Object.keys(sample.flags).map((name) => `--${name}`),
    '--json',
    '--project',
  ])
    assert.ok(text.includes(word), word)
})
