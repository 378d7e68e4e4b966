import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { after, before, test } from 'node:test'
import type { Command } from '../../src/cli/command.ts'
import { commands } from '../../src/cli/commands.ts'
import { machineCommands } from '../../src/main/commands.ts'
import { startPlatform, type Platform } from '../support/platform.ts'
import { inTerminal, noTerminal, type TerminalResult } from '../support/terminal.ts'

/* Every command once, in a pseudo-terminal, against a real platform, in the order a person would try them. */

const folder = mkdtempSync(path.join(os.tmpdir(), 'hearth-walk-'))
const code = path.join(folder, 'hello')
const walked = new Set<string>()
let platform: Platform
let env: Record<string, string>

before(async () => {
  platform = await startPlatform({ data: path.join(folder, 'data') })
  env = {
    HEARTH_URL: platform.url,
    HEARTH_API_KEY: platform.apiKey,
    HEARTH_CACHE: path.join(folder, 'cache'),
    XDG_CONFIG_HOME: path.join(folder, 'config'),
  }
})
after(async () => {
  await platform.stop()
  rmSync(folder, { recursive: true, force: true })
})

async function walk(
  args: readonly string[],
  expected: RegExp,
  options: { code?: number; typed?: string } = {},
): Promise<TerminalResult> {
  const command = [...machineCommands, ...commands].find(({ name }) => `${args.join(' ')} `.startsWith(`${name} `))
  if (command !== undefined && !args.includes('--help')) walked.add(command.name)
  const result = await inTerminal(args, {
    env,
    cwd: folder,
    ...(options.typed !== undefined && { typed: options.typed }),
  })
  assert.equal(result.code, options.code ?? 0, `hearth ${args.join(' ')}: ${result.text}`)
  assert.match(result.text, expected, `hearth ${args.join(' ')}`)
  return result
}

test('help: the program, each group and each command', { skip: noTerminal }, async () => {
  await walk(['--help'], /Usage: hearth[^]*Commands:[^]*Exit codes/)
  await walk(['--version'], /^\d+\.\d+\.\d+/)
  const all = [...machineCommands, ...commands]
  const check = async ({ name, summary }: Command): Promise<void> => {
    const { text } = await walk([...name.split(' '), '--help'], new RegExp(`Usage: hearth ${name}`))
    // Long lines are folded at the width of the terminal.
    assert.ok(text.replaceAll(/\s+/g, ' ').includes(summary.replaceAll(/\s+/g, ' ')), name)
  }
  while (all.length > 0) await Promise.all(all.splice(0, 6).map(check))
})

test('functions: from a starter to deletion', { skip: noTerminal }, async () => {
  await walk(['init', 'node', 'hello'], /Wrote index\.js.*Next:/)
  await walk(['init', 'node', 'hello'], /is there already/, { code: 5 })
  mkdirSync(path.join(folder, 'rival'))
  writeFileSync(path.join(folder, 'rival', 'index.mjs'), '')
  await walk(['init', 'node', 'rival'], /"index\.mjs" is there already/, { code: 5 })
  const create = [
    'function',
    'create',
    '--name',
    'hello',
    '--runtime',
    'node',
    '--handler',
    'index.handler',
    '--code',
    code,
  ]
  const created = await walk(
    [...create, '--memory', '256', '--timeout', '10', '--env', 'A=1'],
    /Created hello version 1 on node\d+/,
  )
  assert.match(created.screen, /uploading|deploying/)
  await walk(create, /exists already/, { code: 5 })
  const invoked = await walk(
    ['function', 'invoke', 'hello', '--data', '{"name": "walker"}'],
    /"Hello, walker!"[^]*succeeded/,
  )
  // oxlint-disable-next-line no-control-regex -- colours are what is looked for
  assert.match(invoked.screen, /\x1b\[32msucceeded/)
  await walk(
    ['function', 'invoke', 'hello', '--data', `@${code}/event.json`, '--tail', '--receipt'],
    /hello from hello[^]*outcome +succeeded/,
  )
  await walk(['function', 'list'], /NAME +VERSION[^]*hello +1/)
  await walk(['function', 'get', 'hello'], /handler +index\.handler[^]*env +A=1/)
  writeFileSync(path.join(code, 'index.js'), "exports.handler = async () => 'second'\n")
  await walk(['function', 'update', 'hello', '--code', code], /Updated hello to version 2/)
  await walk(['function', 'invoke', 'hello'], /"second"/)
  await walk(['function', 'versions', 'hello'], /2 +\$LATEST[^]*\n1 /)
  await walk(['function', 'rollback', 'hello'], /at version 1 again/)
  await walk(['function', 'logs', 'hello', '--tail', '50'], /START RequestId[^]*hello from hello[^]*REPORT RequestId/)
  await walk(['alias', 'set', 'hello', 'live', '--version', '2'], /hello:live is version 2/)
  await walk(['alias', 'list', 'hello'], /live +2/)
  await walk(['function', 'invoke', 'hello:live'], /"second"/)
  await walk(['version', 'delete', 'hello:2'], /has the alias "live"/, { code: 5 })
  await walk(['alias', 'delete', 'hello', 'live'], /Deleted alias hello:live/)
  await walk(['version', 'prune', 'hello', '--keep', '1'], /Kept: .*\$LATEST[^]*Deleted 0 of 2 versions of hello/)
  await walk(['version', 'delete', 'hello:2'], /Deleted version hello:2/)
  await walk(['function', 'invoke', 'hello:2'], /no such version/, { code: 4 })
})

test('invocations: list, receipt, cancel', { skip: noTerminal }, async () => {
  const { text } = await walk(['invocation', 'list', 'hello', '--limit', '3'], /INVOCATION +VERSION +OUTCOME/)
  const id = /^[0-9a-f-]{36}/m.exec(text)?.[0] ?? ''
  await walk(['invocation', 'list'], new RegExp(`INVOCATION +FUNCTION[^]*${id} +hello:\\d`))
  await walk(['invocation', 'get', id], /outcome +succeeded[^]*(\u2588|\u258f)/)
  await walk(['invocation', 'cancel', id], /has ended already/, { code: 5 })
  await walk(['invocation', 'get', 'none'], /./, { code: 4 })
})

test('secrets: typed without being shown, piped, rotated, deleted', { skip: noTerminal }, async () => {
  const typed = await walk(['secret', 'set', 'typed'], /Stored secret typed, revision 1/, { typed: 'very-private\r' })
  assert.doesNotMatch(typed.text, /very-private/)
  writeFileSync(path.join(folder, 'value'), 'from-a-file\n')
  await walk(['secret', 'rotate', 'typed', '--value-file', 'value'], /to revision 2/)
  await walk(['secret', 'list'], /typed +2/)
  await walk(['secret', 'delete', 'typed'], /Deleted secret typed/)
})

test('layers: published, listed, shown, deleted', { skip: noTerminal }, async () => {
  await walk(['layer', 'publish', 'walked', '--code', code], /Published walked:1 \(\d+ B unpacked\)/)
  await walk(['layer', 'list'], /walked:1 +any/)
  await walk(['layer', 'get', 'walked:1'], /code +sha256:[0-9a-f]{64}/)
  await walk(['layer', 'delete', 'walked:1'], /Deleted layer walked:1/)
  await walk(['layer', 'get', 'walked:1'], /There is no layer/, { code: 4 })
})

test('storage: put, listed, brought back, deleted', { skip: noTerminal }, async () => {
  writeFileSync(path.join(folder, 'note.txt'), 'a note')
  await walk(
    ['storage', 'put', 'note.txt', 's3://notes/'],
    /Stored s3:\/\/notes\/note\.txt \(6 B\), version [0-9a-f]{24}/,
  )
  await walk(['storage', 'ls'], /s3:\/\/notes/)
  await walk(['storage', 'ls', 's3://notes'], /note\.txt +6 B/)
  await walk(['storage', 'get', 's3://notes/note.txt', '-'], /a note/)
  await walk(['storage', 'rm', 's3://notes/note.txt'], /Deleted s3:\/\/notes\/note\.txt/)
})

test('keys, projects, audit, nodes, runtimes', { skip: noTerminal }, async () => {
  const { text } = await walk(['key', 'create', '--scope', 'invoke:hello', '--name', 'walker'], /hth_[a-z0-9]{12}_/)
  const id = /hth_([a-z0-9]{12})_/.exec(text)?.[1] ?? ''
  await walk(['key', 'list'], /walker +invoke:hello/)
  await walk(['key', 'revoke', id], /Revoked key/)
  await walk(['project', 'create', 'walk', '--max-functions', '0'], /Created project walk/)
  await walk(['project', 'list'], /default[^]*walk/)
  await walk(['project', 'update', 'walk', '--max-concurrency', '7'], /concurrency +0 of at most 7 running, 0 queued/)
  await walk(['project', 'update', 'walk', '--max-concurrency', '0'], /from 1 to 100000[^]*--max-concurrency N/, {
    code: 2,
  })
  await walk(['project', 'update', 'walk'], /Nothing to update of walk/, { code: 2 })
  await walk(['project', 'get', 'walk'], /functions +0 of at most 0/)
  await walk(['project', 'use', 'walk'], /Using project walk/)
  await walk(['function', 'list', '--project', 'walk'], /No functions yet/)
  await walk(['audit', 'log', '--limit', '50'], /key\.revoke/)
  await walk(['node', 'list'], /NODE +ARCH[^]*process/)
  await walk(['runtime', 'list'], /node\d+ +\d+\.\d+\.\d+/)
  await walk(['runtime', 'install', 'python3.12'], /takes Python from the machine/, { code: 2 })
})

test(
  'kernels and images: what is not there, what is no kernel, an image built once',
  { skip: noTerminal },
  async () => {
    await walk(['image', 'list'], /No kernel and no image in .*cache yet/)
    const built = await walk(['image', 'build', 'node26'], /node26 26\.\d+\.\d+ +\d+\.\d MiB +sha256:[0-9a-f]{64}/)
    assert.match(built.screen, /image node26 \[[#.]{24}\] +\d+ % base programs/)
    await walk(['image', 'build', 'node9000'], /Unknown runtime "node9000"/, { code: 2 })
    await walk(['image', 'list'], /KIND +NAME[^]*runtime +node26[^]*yes/)
    await walk(['image', 'prune'], /Nothing to remove/)
    await walk(['kernel', 'use', '/bin/sh'], /Cannot use "\/bin\/sh" as a kernel: it has no PVH entry/, { code: 2 })
    // A whole build takes minutes. Where it cannot even begin, the message says what is missing.
    const args = ['kernel', 'build', '--profile', 'ci', '--time-limit', '2']
    const refused = await inTerminal(args, { env, cwd: folder })
    walked.add('kernel build')
    assert.match(refused.text, /was not built within 2 s\. Try again|Cannot build a kernel: .*apt-get install/)
    assert.ok([7, 9].includes(refused.code), `${refused.code}`)
  },
)

test('the machine: doctor, completion, a refused start, one deploy of dev', { skip: noTerminal }, async () => {
  await walk(['doctor'], /driver process: works[^]*FEATURE +ENFORCED/)
  await walk(['completion', 'bash'], /complete .*hearth/)
  await walk(['up', '--host', '0.0.0.0', '--data', path.join(folder, 'open')], /without TLS/, { code: 2 })
  await walk(['dev', code, '--once'], /deployed hello version \d+ in \d+ ms/)
  const url = await walk(['function', 'url', 'create', 'hello', '--auth', 'none'], /http:\/\/hello\.localhost:\d+/)
  const pathUrl = /also (\S+)/.exec(url.text)?.[1] ?? ''
  assert.equal((await fetch(pathUrl)).status, 200, pathUrl)
  await walk(['function', 'url', 'get', 'hello'], /hello\.localhost/)
  await walk(['function', 'url', 'list'], /hello/)
  await walk(['function', 'url', 'create', 'hello', '--auth', 'all'], /Invalid --auth "all"/, { code: 2 })
  await walk(['function', 'url', 'delete', 'hello'], /hello has no URL any more/)
  await walk(['function', 'delete', 'hello'], /Deleted hello/)
  await walk(['function', 'get', 'hello'], /no function "hello"|not found/i, { code: 4 })
})

test('the walk went through every command', { skip: noTerminal }, () => {
  const missed = [...machineCommands, ...commands].map(({ name }) => name).filter((name) => !walked.has(name))
  assert.deepEqual(missed, [])
})
