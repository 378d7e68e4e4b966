import assert from 'node:assert/strict'
import { mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { after, before, describe, test } from 'node:test'
import { call, invoke, type Reply } from '../support/functions.ts'
import { startPlatform, type Platform } from '../support/platform.ts'
import { makeClient, ricFunctions, runtimeClients, type RuntimeClient } from '../support/runtime-clients.ts'

/* Lambda's Runtime API as its own clients use it: Go's and Rust's libraries, and AWS's packages for Node and Python, unchanged. */

/** A first installation compiles. */
const makeMsMax = 290_000

interface Kind {
  readonly client: RuntimeClient
  /** Flags of `hearth function create`. */
  readonly flags: readonly string[]
  readonly errorType: RegExp
}

const kinds: Record<string, Kind> = {
  'aws-lambda-go': {
    client: runtimeClients.go,
    flags: ['--runtime', 'provided.al2023', '--handler', 'whole'],
    errorType: /^errorString$/,
  },
  'lambda_runtime of Rust': {
    client: runtimeClients.rust,
    flags: ['--runtime', 'provided.al2', '--handler', 'whole'],
    errorType: /Error/,
  },
  [ricFunctions.node.title]: { ...ricFunctions.node, errorType: /^TypeError$/ },
  [ricFunctions.python.title]: { ...ricFunctions.python, errorType: /^ValueError$/ },
}

let platform: Platform
before(async () => {
  platform = await startPlatform()
})
after(async () => platform.stop())

for (const [title, { client, flags, errorType }] of Object.entries(kinds))
  describe(title, { timeout: makeMsMax }, () => {
    const name = `ric-${client.name}`
    const run = (event: unknown): Promise<Reply> => invoke(platform, name, event)
    let reason: string | null = null

    before(async () => {
      const made = await makeClient(client)
      if ('reason' in made) {
        reason = made.reason
        return
      }
      await create(name, made.folder, [...flags, '--memory', '512'])
    })

    test('answers with what the handler gives and knows of its invocation', async (t) => {
      if (reason !== null) return t.skip(reason)
      const first = await run({ n: 1, text: 'gr\u{fc}\u{df}e' })
      assert.equal(first.status, 200, first.body.toString())
      assert.deepEqual(first.json()['got'], { n: 1, text: 'gr\u{fc}\u{df}e' })
      assert.equal(first.json()['id'], first.headers.get('hearth-invocation-id'))
      assert.equal(first.json()['function'], name)
      const warm = await run({ n: 2 })
      assert.equal(warm.headers.get('hearth-start'), 'warm')
      assert.deepEqual(warm.json()['got'], { n: 2 })
    })

    test('an error of the handler has its type and message, and the next invocation is served', async (t) => {
      if (reason !== null) return t.skip(reason)
      const reply = await run({ fail: true })
      assert.equal(reply.status, 200)
      assert.equal(reply.headers.get('hearth-outcome'), 'failed')
      const body = reply.json<{ errorType: string; errorMessage: string }>()
      assert.match(body.errorType, errorType)
      assert.match(body.errorMessage, /on purpose/)
      assert.equal((await run({ n: 3 })).headers.get('hearth-start'), 'warm')
    })

    test('events and results of megabytes pass', async (t) => {
      if (reason !== null) return t.skip(reason)
      const text = 'x'.repeat(2_500_000)
      const reply = await run({ text })
      assert.equal(reply.status, 200)
      assert.ok(reply.json<{ got: { text: string } }>().got.text === text)
    })
  })

test('lambda_runtime of Rust streams its answer', { timeout: makeMsMax }, async (t) => {
  const made = await makeClient(runtimeClients.rust)
  if ('reason' in made) return t.skip(made.reason)
  await create('ric-rust-stream', made.folder, ['--runtime', 'provided', '--handler', 'stream'])
  const reply = await invoke(platform, 'ric-rust-stream', {})
  assert.equal(reply.body.toString(), 'part 0;part 1;part 2;')
})

describe('a bootstrap that does not serve', () => {
  let folder: string
  before(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), 'hearth-bootstrap-'))
  })
  after(async () => rm(folder, { recursive: true, force: true }))

  test('one that exits before it asks is refused with its exit code and what it printed; --no-check takes it all the same', async () => {
    const file = path.join(folder, 'bootstrap')
    await writeFile(file, '#!/bin/sh\necho starting; echo no database >&2\nexit 9\n', { mode: 0o755 })
    const why = 'bootstrap" ended with exit code 9 before it asked for its first invocation. (phase code_load)'
    const told = await refused('exits', folder)
    assert.ok(told.includes(`${why}\nIt printed:\n  starting\n  no database`), told)
    await create('exits', folder, ['--runtime', 'provided', '--no-check'])
    const reply = await invoke(platform, 'exits')
    assert.equal(reply.headers.get('hearth-outcome'), 'crashed')
    assert.ok(reply.json<{ errorMessage: string }>().errorMessage.endsWith(why), reply.body.toString())
  })

  test('one of another processor is named, with both', async () => {
    const elf = Buffer.alloc(64)
    elf.write('\x7fELF', 'latin1')
    elf.writeUInt16LE(process.arch === 'arm64' ? 62 : 183, 18)
    await writeFile(path.join(folder, 'bootstrap'), elf, { mode: 0o755 })
    assert.match(await refused('foreign', folder), /it is built for (aarch64|x86_64), this machine is/)
  })

  test('one that is not there is named', async () => {
    await rename(path.join(folder, 'bootstrap'), path.join(folder, 'other'))
    assert.match(await refused('missing', folder), /There is no \/var\/task\/bootstrap/)
  })
})

test('an extension that never registers is named, and not the program that is ready', async (t) => {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'hearth-extension-'))
  t.after(async () => rm(folder, { recursive: true, force: true }))
  await mkdir(path.join(folder, 'layer/extensions'), { recursive: true })
  await writeFile(path.join(folder, 'layer/extensions/late'), '#!/bin/sh\nexec sleep 60\n', { mode: 0o755 })
  const published = await platform.cli(['layer', 'publish', 'late', '--code', path.join(folder, 'layer')])
  assert.equal(published.code, 0, published.stderr)
  const asks = `#!/bin/sh\nexec curl -s http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime/invocation/next\n`
  await mkdir(path.join(folder, 'code'))
  await writeFile(path.join(folder, 'code/bootstrap'), asks, { mode: 0o755 })
  const flags = ['--runtime', 'provided', '--layer', 'late:1', '--init-timeout', '2']
  const told = await refused('extended', path.join(folder, 'code'), flags)
  assert.match(told, /The program is ready; its start waits for extensions: "late" has not registered\./)
})

describe('a wrapper', () => {
  /** Serves by the Runtime API and answers with what it was started with. */
  const client = `
import json, os, sys, urllib.request
api = 'http://' + os.environ['AWS_LAMBDA_RUNTIME_API'] + '/2018-06-01/runtime/invocation/'
while True:
    event = urllib.request.urlopen(api + 'next')
    event.read()
    answer = json.dumps({'argv': sys.argv, 'wrapped': os.environ.get('WRAPPED'), 'name': os.environ.get('AWS_LAMBDA_EXEC_WRAPPER')})
    urllib.request.urlopen(api + event.headers['lambda-runtime-aws-request-id'] + '/response', answer.encode())
`
  const wrapper = '#!/bin/sh\nWRAPPED="$*" exec "$@" more\n'
  let folder: string
  before(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), 'hearth-wrapper-'))
    await writeFile(path.join(folder, 'client.py'), client)
    await writeFile(path.join(folder, 'wrap'), wrapper, { mode: 0o755 })
    await writeFile(path.join(folder, 'bootstrap'), '#!/bin/sh\nexec python3 client.py own\n', { mode: 0o755 })
  })
  after(async () => rm(folder, { recursive: true, force: true }))
  const env = ['--env', 'AWS_LAMBDA_EXEC_WRAPPER=/var/task/wrap']
  const flags = ['--runtime', 'python', '--contract', 'runtime-api', '--handler', 'client.handler', ...env]

  test('is started before the command, and handed it', async () => {
    await create('wrapped', folder, [...flags, '--command', 'python3 client.py once'])
    const name = '/var/task/wrap'
    const answer = { argv: ['client.py', 'once', 'more'], wrapped: 'python3 client.py once', name }
    assert.deepEqual((await invoke(platform, 'wrapped')).json(), answer)
  })

  test('is a variable and nothing more to a bootstrap, as on Lambda', async () => {
    await create('unwrapped', folder, flags)
    const answer = { argv: ['client.py', 'own'], wrapped: null, name: '/var/task/wrap' }
    assert.deepEqual((await invoke(platform, 'unwrapped')).json(), answer)
  })

  test('that is not there fails the start by its name', async () => {
    const absent = flags.map((flag) => flag.replace('/wrap', '/absent'))
    const told = await refused('unfound', folder, [...absent, '--command', 'python3 client.py once'])
    assert.match(told, /Cannot start "\/var\/task\/absent"/)
  })
})

/** What `create` says of it; nothing of it stays. */
async function refused(
  name: string,
  folder: string,
  flags: readonly string[] = ['--runtime', 'provided'],
): Promise<string> {
  const { code, stderr } = await platform.cli(['function', 'create', '--name', name, '--code', folder, ...flags])
  assert.equal(code, 2, stderr)
  assert.equal((await call(platform, 'GET', `/v1/functions/${name}`)).status, 404)
  return stderr
}

async function create(name: string, folder: string, flags: readonly string[]): Promise<void> {
  const { code, stderr } = await platform.cli(['function', 'create', '--name', name, '--code', folder, ...flags])
  assert.equal(code, 0, stderr)
  const { status } = await call(platform, 'GET', `/v1/functions/${name}`)
  assert.equal(status, 200)
}
