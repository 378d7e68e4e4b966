import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { after, before, test } from 'node:test'
import { runCli, startPlatform, type CliResult, type Platform } from '../support/platform.ts'

/* The command line as scripts use it: streams, exit codes, JSON, finding the server. */

const root = path.resolve(import.meta.dirname, '../..')
const folder = mkdtempSync(path.join(os.tmpdir(), 'hearth-cli-'))
const data = path.join(folder, 'work/.hearth')
let platform: Platform

function code(name: string, files: Readonly<Record<string, string>>): string {
  const target = path.join(folder, name)
  mkdirSync(target, { recursive: true })
  for (const [file, text] of Object.entries(files)) writeFileSync(path.join(target, file), text)
  return target
}

const behaviours = `
exports.handler = async (event) => {
  if (event.throw) throw new TypeError('not today')
  if (event.exit) process.exit(3)
  if (event.ms) await new Promise((resolve) => setTimeout(resolve, event.ms))
  return event
}
`

before(async () => {
  platform = await startPlatform({ data })
  const create = ['function', 'create', '--name', 'echo', '--runtime', 'node', '--handler', 'index.handler']
  const made = await platform.cli([...create, '--code', code('echo', { 'index.js': behaviours }), '--timeout', '1'])
  assert.equal(made.code, 0, made.stderr)
})
after(async () => {
  await platform.stop()
  rmSync(folder, { recursive: true, force: true })
})

test('invoke: the result alone on stdout, the rest on stderr; data from argument, file and stdin', async () => {
  const plain = await platform.cli(['function', 'invoke', 'echo', '--data', '{"a":1}'])
  assert.deepEqual([plain.stdout, plain.code], ['{"a":1}', 0])
  assert.match(plain.stderr, /^succeeded {2}.* m?s {2}version 1 {2}[0-9a-f-]{36}\n$/)
  writeFileSync(path.join(folder, 'event.json'), '{"b":2}')
  assert.equal(
    (await platform.cli(['function', 'invoke', 'echo', '--data', `@${folder}/event.json`])).stdout,
    '{"b":2}',
  )
  assert.equal((await platform.cli(['function', 'invoke', 'echo', '--data', '-'], '{"c":3}')).stdout, '{"c":3}')
  assert.equal((await platform.cli(['function', 'invoke', 'echo'])).stdout, '{}')
})

const exits: readonly [string, readonly string[], number][] = [
  ['the function threw', ['function', 'invoke', 'echo', '--data', '{"throw":true}'], 1],
  ['bad flag value', ['function', 'update', 'echo', '--memory', '5'], 2],
  ['unknown flag', ['function', 'list', '--limt', '5'], 2],
  ['unknown command', ['function', 'explode'], 2],
  ['no such code', ['function', 'update', 'echo', '--code', './nowhere'], 2],
  ['bad key', ['function', 'list', '--api-key', 'hth_no'], 3],
  ['not found', ['function', 'get', 'absent'], 4],
  [
    'taken name',
    [
      'function',
      'create',
      '--name',
      'echo',
      '--runtime',
      'node',
      '--handler',
      'index.handler',
      '--code',
      path.join(folder, 'echo'),
    ],
    5,
  ],
  ['timed out', ['function', 'invoke', 'echo', '--data', '{"ms":5000}'], 7],
  ['crashed', ['function', 'invoke', 'echo', '--data', '{"exit":true}'], 8],
  ['no platform', ['function', 'list', '--url', 'http://127.0.0.1:1', '--api-key', 'k'], 9],
]
for (const [title, args, expected] of exits)
  test(`exit code ${expected}: ${title}`, async () => {
    const { code: actual, stderr } = await platform.cli(args)
    assert.equal(actual, expected, stderr)
    assert.notEqual(stderr, '')
  })

test('bad input: the message names field, value and range, and the flag that sets it', async () => {
  const { stderr } = await platform.cli(['function', 'update', 'echo', '--memory', '5'])
  assert.match(stderr, /memoryMib 5: must be .*128.*2048[^]*--memory/)
})

test('bad input: an architecture without a node is refused before the build, names and times by their flags', async () => {
  const arch = process.arch === 'arm64' ? 'x86_64' : 'arm64'
  const source = code('far', { 'go.mod': 'module far\n', 'main.go': 'package main\n' })
  const far = await platform.cli(['function', 'create', '--name', 'far', '--code', source, '--arch', arch])
  assert.equal(far.code, 2)
  assert.match(far.stderr, new RegExp(`^.*Inferred.*\\n.*Invalid arch "${arch}": must be .*\\n.*--arch`))
  const name = await platform.cli(['function', 'update', 'echo', '--env', '__proto__=x'])
  assert.match(name.stderr, /Invalid --env "__proto__=x": "__proto__" is no name to give/)
  const time = await platform.cli(['function', 'invoke', 'echo', '--timeout', '301'])
  assert.match(time.stderr, /Hearth-Timeout-Ms[^]*Set it with --timeout S/)
})

test('runtimes: the list names every one, with what it needs; a line of a language that nobody knows is refused', async () => {
  const { stdout } = await platform.cli(['runtime', 'list'])
  for (const row of [
    /^provided +1 /m,
    /^http +a web server/m,
    /^image +a container/m,
    /^go +a handler/m,
    /^rust +a hand/m,
  ])
    assert.match(stdout, row)
  const built = code('built', { bootstrap: '#!/bin/sh\n' })
  for (const [runtime, nearest] of [
    ['rust1.999', 'rust1.'],
    ['go1.99', 'go1.'],
    ['go1.26.8', 'go1.26'],
  ]) {
    const made = await platform.cli([
      'function',
      'create',
      '--name',
      'line',
      '--runtime',
      runtime ?? '',
      '--code',
      built,
    ])
    assert.equal(made.code, 2)
    assert.match(made.stderr, new RegExp(`Unknown runtime "${runtime}": known are .*The nearest is "${nearest}`))
  }
})

test('an image function takes --image, not --code', async () => {
  const folder = code('plain', { 'index.js': behaviours })
  for (const args of [
    ['create', '--name', 'pic'],
    ['update', 'echo'],
  ]) {
    const made = await platform.cli(['function', ...args, '--runtime', 'image', '--code', folder])
    assert.equal(made.code, 2)
    assert.match(made.stderr, /Runtime image takes --image in place of --code/)
  }
})

test('invoke: an event over the limit is refused before it is sent; code that does not load is not to be tried again', async () => {
  writeFileSync(path.join(folder, 'large'), Buffer.alloc(20_000_000, 'x'))
  const large = await platform.cli(['function', 'invoke', 'echo', '--data', `@${folder}/large`])
  assert.equal(large.code, 2)
  assert.match(large.stderr, /The request is larger than 6291456 bytes/)
  const flags = ['--name', 'unloadable', '--runtime', 'node', '--handler', 'index.handler']
  const made = await platform.cli([
    'function',
    'create',
    ...flags,
    '--code',
    code('unloadable', { 'index.js': 'syntax(' }),
  ])
  assert.equal(made.code, 0, made.stderr)
  const { stdout, code: exit } = await platform.cli(['function', 'invoke', 'unloadable'])
  assert.equal(exit, 8)
  assert.match(stdout, /"retryable":false.*"errorType":"Runtime\.UserCodeSyntaxError"/)
})

test('--json: one document on stdout, errors as JSON on stderr', async () => {
  const list = JSON.parse((await platform.cli(['function', 'list', '--json'])).stdout) as { items: { name: string }[] }
  assert.equal(list.items[0]?.name, 'echo')
  const call = JSON.parse(
    (await platform.cli(['function', 'invoke', 'echo', '--data', '{"x":1}', '--json'])).stdout,
  ) as Record<string, unknown>
  assert.deepEqual([call['outcome'], call['result']], ['succeeded', { x: 1 }])
  const failed = await platform.cli(['function', 'get', 'absent', '--json'])
  assert.equal(failed.stdout, '')
  assert.equal((JSON.parse(failed.stderr) as { error: { code: string } }).error.code, 'not_found')
  const misspelt = await platform.cli(['function', 'get', 'echo', '--jsn', '--json'])
  const { error } = JSON.parse(misspelt.stderr) as { error: { code: string; message: string } }
  assert.equal(error.code, 'invalid')
  assert.match(error.message, /unknown option '--jsn'.*Did you mean --json/)
})

test('output that is no terminal has no control sequences', async () => {
  for (const args of [
    ['function', 'list'],
    ['function', 'invoke', 'echo', '--receipt'],
    ['function', 'logs', 'echo'],
  ]) {
    const { stdout, stderr } = await platform.cli(args)
    assert.equal(`${stdout}${stderr}`.includes('\u001B'), false, args.join(' '))
  }
})

test('the server is found from any folder below .hearth, through a symlink to the program', async () => {
  const deep = path.join(folder, 'work/some/where')
  mkdirSync(deep, { recursive: true })
  const link = path.join(folder, 'linked-hearth')
  symlinkSync(path.join(root, 'bin/hearth'), link)
  const child = spawn(link, ['function', 'list'], {
    cwd: deep,
    env: { PATH: process.env['PATH'], HOME: folder },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let text = ''
  child.stdout.on('data', (chunk: Buffer) => (text += chunk.toString()))
  child.stderr.on('data', (chunk: Buffer) => (text += chunk.toString()))
  const [exit] = (await once(child, 'close')) as [number]
  assert.equal(exit, 0, text)
  assert.match(text, /echo/)
})

test('project use: stored for this user and server, left again with the default', async () => {
  const env = { XDG_CONFIG_HOME: path.join(folder, 'config'), HEARTH_DATA: data }
  const cli = async (...args: string[]): Promise<CliResult> => runCli(args, { env })
  assert.equal((await cli('project', 'create', 'side')).code, 0)
  assert.equal((await cli('project', 'use', 'side')).code, 0)
  assert.deepEqual(JSON.parse((await cli('function', 'list', '--json')).stdout), { items: [] })
  const { items } = JSON.parse((await cli('key', 'list', '--json')).stdout) as { items: { id: string }[] }
  assert.equal((await cli('key', 'revoke', items[0]?.id ?? '')).code, 0)
  assert.equal((await cli('function', 'list')).code, 0, 'a kept key that was revoked is made anew')
  assert.equal((await cli('project', 'use', 'default')).code, 0)
  assert.match((await cli('function', 'list')).stdout, /echo/)
  assert.equal((await cli('project', 'use', 'absent')).code, 4)
})

test('an unchanged folder is not uploaded twice', async () => {
  const again = await platform.cli(['function', 'update', 'echo', '--code', path.join(folder, 'echo'), '--json'])
  const versions = JSON.parse((await platform.cli(['function', 'versions', 'echo', '--json'])).stdout) as {
    items: { codeDigest: string }[]
  }
  assert.equal(again.code, 0, again.stderr)
  assert.equal(versions.items[0]?.codeDigest, versions.items[1]?.codeDigest)
})

test('create and update --no-wait: accepted at once, visible while prepared, a failure leaves the version before in place', async () => {
  const good = code('soon', { 'index.js': "exports.handler = async () => 'soon'\n" })
  const create = ['function', 'create', '--name', 'soon', '--runtime', 'node', '--handler', 'index.handler']
  const accepted = await platform.cli([...create, '--code', good, '--no-wait'])
  assert.match(accepted.stdout, /^Accepted soon version 1; it is being prepared\./)
  assert.equal((await platform.cli(['function', 'invoke', 'soon'])).stdout, '"soon"')
  const bad = code('soon', { 'index.js': 'exports.handler = {\n' })
  const pending = await platform.cli(['function', 'update', 'soon', '--code', bad, '--no-wait', '--check', '--json'])
  const view = JSON.parse(pending.stdout) as { version: number; state: string; update: { version: number } }
  assert.deepEqual([view.version, view.state, view.update.version], [1, 'active', 2])
  const startedAt = performance.now()
  let shown = ''
  while (!/update +version 2 failed: The code does not load: .*SyntaxError/.test(shown)) {
    assert.ok(performance.now() - startedAt < 60_000, shown)
    shown = (await platform.cli(['function', 'get', 'soon'])).stdout
  }
  const versions = await platform.cli(['function', 'versions', 'soon'])
  assert.match(versions.stdout, /^2 +failed [^]*^1 +\$LATEST +active /m)
  assert.match(versions.stderr, /Version 2 failed: The code does not load/)
  assert.equal((await platform.cli(['function', 'invoke', 'soon'])).stdout, '"soon"')
  const refused = await platform.cli(['function', 'invoke', 'soon:2'])
  assert.equal(refused.code, 8)
  assert.match(refused.stderr, /crashed/)
  const checked = await platform.cli(['function', 'update', 'soon', '--code', bad, '--check'])
  assert.equal(checked.code, 2)
  assert.match(checked.stderr, /The code does not load: .*SyntaxError[^]*index\.js:/)
})

test('dev: a function that is there keeps its version of a runtime; init prints the one that was named', async () => {
  const target = path.join(folder, 'a b')
  const { items } = JSON.parse((await platform.cli(['runtime', 'list', '--json'])).stdout) as {
    items: { id: string }[]
  }
  const id = items.map((each) => each.id).find((each) => each.startsWith('node')) ?? ''
  const told = await platform.cli(['init', id, target])
  assert.match(told.stdout, new RegExp(`hearth dev '${target}' --runtime ${id}\n`))
  assert.match(told.stdout, new RegExp(`create --name a-b --code '${target}' --runtime ${id}\n`))
  const made = await platform.cli(['function', 'create', '--name', 'a-b', '--code', target, '--runtime', id])
  assert.equal(made.code, 0, made.stderr)
  writeFileSync(path.join(target, 'index.js'), "exports.handler = async () => 'changed'\n")
  const deployed = await platform.cli(['dev', target, '--once'])
  assert.match(deployed.stderr, /deployed a-b version 2/)
  const view = JSON.parse((await platform.cli(['function', 'get', 'a-b', '--json'])).stdout) as { runtime: string }
  assert.equal(view.runtime, id)
})

test('dev: a save is deployed at once, and its log is streamed', async (t) => {
  const target = code('live', { 'index.js': "exports.handler = async () => 'one'\n" })
  const child = spawn(path.join(root, 'bin/hearth'), ['dev', target], {
    env: { ...process.env, HEARTH_URL: platform.url, HEARTH_API_KEY: platform.apiKey },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let text = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (text += chunk.toString()))
  const until = async (pattern: RegExp): Promise<number> => {
    const startedAt = performance.now()
    while (!pattern.test(text)) {
      assert.ok(performance.now() - startedAt < 60_000, `${pattern} in ${text}`)
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
    return performance.now() - startedAt
  }
  try {
    await until(/deployed live version 1 in/)
    await new Promise((resolve) => setTimeout(resolve, 300))
    writeFileSync(
      path.join(target, 'index.js'),
      "exports.handler = async () => { console.log('a new line'); return 'two' }\n",
    )
    const deployedMs = await until(/deployed live version 2 in/)
    assert.equal((await platform.cli(['function', 'invoke', 'live'])).stdout, '"two"')
    await until(/a new line/)
    writeFileSync(path.join(target, 'index.js'), "exports.handler = async () => {\n  return 'three'\n")
    const toldMs = await until(/not deployed: The code does not load: .*SyntaxError[^\n]*\n  \/var\/task\/index\.js:/)
    t.diagnostic(`from the save: deployed in ${deployedMs.toFixed(0)} ms, refused in ${toldMs.toFixed(0)} ms`)
    assert.equal((await platform.cli(['function', 'invoke', 'live'])).stdout, '"two"')
    writeFileSync(path.join(target, 'index.js'), "require('./absent')\n")
    await until(/not deployed: The code does not load: .*Cannot find module '\.\/absent'/)
    writeFileSync(path.join(target, 'index.js'), "exports.handler = async () => 'four'\n")
    await until(/deployed live version 3 in/)
    assert.equal((await platform.cli(['function', 'invoke', 'live'])).stdout, '"four"')
    rmSync(path.join(target, 'index.js'))
    await until(/not deployed: .*no files/)
  } finally {
    child.kill('SIGINT')
  }
  const [exit] = (await once(child, 'close')) as [number]
  assert.equal(exit, 0)
})
