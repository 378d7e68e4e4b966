import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import net from 'node:net'
import { after, before, test } from 'node:test'
import { Validator } from '@seriousme/openapi-schema-validator'
import { createClient, HearthError, routes, type Route } from '@hearth/sdk'
import {
  call,
  deployFiles,
  invoke,
  upload,
  zipOf,
  nodeFunction,
  type Reply,
  type Target,
} from '../support/functions.ts'
import { startInProcess, type InProcess } from '../support/in-process.ts'

/* The HTTP API as rows: everything but the sandbox is real. */

let api: InProcess
before(async () => {
  api = await startInProcess({ driver: { handler: (event) => event } })
  await deployFiles(api, { name: 'echo', runtime: 'node', handler: 'index.handler', files: { 'index.js': '//' } })
})
after(async () => api.close())

const key = async (scopes: string[]): Promise<Target> => {
  const made = (await call(api, 'POST', '/v1/keys', { name: 'test', scopes })).json<{ token: string }>()
  return { url: api.url, apiKey: made.token }
}

/* method, path, body, status, text that the reply must contain */
const rows: readonly (readonly [string, string, unknown, number, string])[] = [
  ['GET', '/healthz', undefined, 200, '"ok":true'],
  ['GET', '/readyz', undefined, 200, '"ready":true'],
  ['GET', '/v1/functions/absent', undefined, 404, 'There is no function \\"absent\\".'],
  ['GET', '/v1/functions?limit=0', undefined, 400, '"field":"limit"'],
  ['GET', '/v1/functions?cursor=%21', undefined, 400, '"field":"cursor"'],
  ['GET', '/v1/functions?nope=1', undefined, 400, '"field":"nope"'],
  ['GET', '/v1/functions?limit=0', undefined, 400, 'must be a whole number from 1 to 1000.'],
  [
    'POST',
    '/v1/functions/echo:/invoke',
    {},
    400,
    'Invalid qualifier \\"\\": must be $LATEST, a version number or an alias.',
  ],
  [
    'POST',
    '/v1/functions',
    { name: 'echo', runtime: 'node', handler: 'i.h', code: { artifact: `sha256:${'0'.repeat(64)}` } },
    409,
    'exists already',
  ],
  [
    'POST',
    '/v1/functions',
    { name: 'x y', runtime: 'node', handler: 'i.h', code: { artifact: `sha256:${'0'.repeat(64)}` } },
    400,
    '"field":"name"',
  ],
  [
    'POST',
    '/v1/functions',
    { name: 'new', runtime: 'node', handler: 'i.h', code: { artifact: `sha256:${'0'.repeat(64)}` } },
    400,
    '"field":"code.artifact"',
  ],
  [
    'POST',
    '/v1/functions',
    { name: 'new', runtime: 'node', handler: 'i.h', code: { artifact: 'md5:1' } },
    400,
    '"field":"code.artifact"',
  ],
  [
    'POST',
    '/v1/functions',
    { name: 'new', runtime: 'cobol', handler: 'i.h', code: { artifact: `sha256:${'0'.repeat(64)}` } },
    400,
    'cobol',
  ],
  ['PATCH', '/v1/functions/echo', {}, 400, 'Invalid body {}: must be an object with code or at least one setting.'],
  ['PATCH', '/v1/functions/echo', { memoryMib: 64 }, 400, 'a whole number from 128 to 2048'],
  ['PATCH', '/v1/functions/echo', { timeoutMs: 300_001 }, 400, 'a whole number from 1000 to 300000'],
  ['PATCH', '/v1/functions/echo', { concurrency: 101 }, 400, 'a whole number from 1 to 100'],
  ['PATCH', '/v1/functions/echo', { env: { A: 'x'.repeat(5000) } }, 400, 'at most 4096 bytes'],
  ['PATCH', '/v1/functions/echo', { env: { '1A': 'x' } }, 400, '"field":"env.1A"'],
  [
    'PATCH',
    '/v1/functions/echo',
    { env: JSON.parse('{"__proto__":"x"}') },
    400,
    'must not hold the key \\"__proto__\\"',
  ],
  ['PATCH', '/v1/functions/echo', { secrets: { toString: 'absent' } }, 400, 'hearth secret set'],
  ['PATCH', '/v1/functions/echo', { isolation: 'process', snapshot: 'function' }, 400, '"field":"snapshot"'],
  ['PATCH', '/v1/functions/echo', { env: { AWS_LAMBDA_FUNCTION_NAME: 'x' } }, 400, 'does not set itself'],
  ['PATCH', '/v1/functions/echo', { secrets: { A: 'absent' } }, 400, 'hearth secret set'],
  ['PATCH', '/v1/functions/echo', { network: 'all' }, 400, 'one of none, egress'],
  ['PATCH', '/v1/functions/echo', { isolation: 'vm' }, 400, 'never downgraded'],
  ['PATCH', '/v1/functions/echo', { arch: 'arm64' }, 400, 'x86_64'],
  ['PATCH', '/v1/functions/echo', { handler: '../etc/passwd.x' }, 400, '"field":"handler"'],
  ['PATCH', '/v1/functions/echo', { permissions: ['everything'] }, 400, '"field":"permissions"'],
  ['PATCH', '/v1/functions/absent', { memoryMib: 128 }, 404, 'absent'],
  ['PUT', '/v1/functions/echo/aliases/live', { version: 99 }, 404, 'version'],
  ['PUT', '/v1/functions/echo/aliases/7', { version: 1 }, 400, '"field":"alias"'],
  ['DELETE', '/v1/functions/echo/aliases/absent', undefined, 404, 'absent'],
  ['POST', '/v1/functions/echo/rollback', {}, 409, 'no version before'],
  ['POST', '/v1/functions/echo/rollback', { to: 5 }, 404, 'echo:5'],
  ['GET', '/v1/invocations/absent', undefined, 404, 'There is no invocation'],
  ['PUT', `/v1/artifacts/${'0'.repeat(64)}`, Buffer.from('other bytes'), 400, 'digest'],
  ['PUT', '/v1/artifacts/short', Buffer.from('x'), 400, '"field":"sha256"'],
  ['PUT', '/v1/secrets/a%20b', { value: 'x' }, 400, '"field":"name"'],
  ['PUT', '/v1/secrets/big', { value: 'x'.repeat(20_000) }, 400, '"field":"value"'],
  ['DELETE', '/v1/secrets/absent', undefined, 404, 'absent'],
  ['POST', '/v1/keys', { name: 'k', scopes: ['fly'] }, 400, '"field":"scopes"'],
  ['DELETE', '/v1/keys/absent', undefined, 404, 'absent'],
  ['POST', '/v1/projects', { name: 'Default' }, 400, '"field":"name"'],
  ['POST', '/v1/projects', { name: 'default' }, 409, 'default'],
  ['GET', '/v1/storage/absent', undefined, 404, 'There is no bucket \\"absent\\".'],
  ['GET', '/v1/storage/absent/key', undefined, 404, 'There is no bucket \\"absent\\".'],
  ['GET', '/v1/storage/absent/key?versionId=a%20b', undefined, 400, '"field":"versionId"'],
  ['DELETE', '/v1/storage/absent/a/b', undefined, 404, 's3://absent/a/b'],
  ['POST', '/v1/storage/bucket/a/b', undefined, 405, 'This path takes'],
  ['GET', '/nowhere', undefined, 404, 'There is no GET /nowhere'],
  ['POST', '/v1/functions/absent/invoke', {}, 404, 'absent'],
  ['POST', '/v1/functions/echo:absent/invoke', {}, 404, 'echo:absent'],
  ['POST', '/v1/functions/echo:%20/invoke', {}, 400, '"field":"qualifier"'],
  ['POST', '/v1/functions?wait=maybe', {}, 400, '"field":"wait"'],
]

test('a path that cannot be decoded is refused in the error form on every route, with and without a key', async () => {
  for (const row of Object.values<Route>(routes)) {
    if (!row.path.includes('{')) continue
    for (const broken of ['%zz', '%c3%28', 'a%']) {
      const init = { method: row.method, headers: { authorization: `Bearer ${api.apiKey}` } }
      const path = row.path.replace(/\{\w+\}/, broken).replaceAll(/\{\w+(\.{3})?\}/g, 'a')
      for (const sent of [init, { method: row.method }]) {
        const reply = await fetch(`${api.url}${path}`, sent)
        assert.equal(reply.status, 400, `${row.method} ${path}`)
        if (row.method === 'HEAD') continue
        const { error } = (await reply.json()) as { error: Record<string, unknown> }
        assert.deepEqual([error['code'], error['field'], error['value']], ['invalid', 'path', path])
      }
    }
  }
})

for (const [method, path, body, status, text] of rows)
  test(`${method} ${path} ${body === undefined ? '' : JSON.stringify(body).slice(0, 60)}: ${status}`, async () => {
    const reply = await call(
      api,
      method,
      path,
      body,
      Buffer.isBuffer(body) ? { 'content-type': 'application/zip' } : {},
    )
    assert.equal(reply.status, status, reply.body.toString())
    assert.ok(reply.body.toString().includes(text), `${text} in ${reply.body.toString()}`)
  })

test('every closed route answers 401 without a key, in the error form, and never names what exists', async () => {
  for (const row of Object.values<Route>(routes)) {
    if (row.scope === null) continue
    const path = row.path.replaceAll(/\{\w+\}/g, 'echo')
    const reply = await fetch(`${api.url}${path}`, {
      method: row.method,
      headers: { 'content-type': 'application/json' },
      ...(['GET', 'HEAD'].includes(row.method) ? {} : { body: '{}' }),
    })
    assert.equal(reply.status, 401, `${row.method} ${path}`)
    assert.match(reply.headers.get('www-authenticate') ?? '', /Bearer/)
  }
})

test('every route refuses a key without its scope with 403, whether or not the name exists', async () => {
  const narrow = await key(['invoke:other'])
  for (const row of Object.values<Route>(routes)) {
    if (row.scope === null) continue
    for (const name of ['echo', 'absent']) {
      const path = row.path
        .replaceAll('{sha256}', '0'.repeat(64))
        .replaceAll('{number}', '1')
        .replaceAll(/\{\w+(\.{3})?\}/g, name)
      const bodies: Readonly<Record<string, unknown>> = {
        '/v1/functions/{name}/url': { auth: 'none' },
        '/v1/functions': { name, runtime: 'node', handler: 'i.h', code: { artifact: `sha256:${'0'.repeat(64)}` } },
        '/v1/builds': { artifact: `sha256:${'0'.repeat(64)}`, runtime: 'go' },
        '/v1/keys': { name, scopes: ['invoke:other'] },
        '/v1/projects': { name: 'p' },
        '/v1/projects/{name}': { quotas: { functionsMax: 1 } },
        '/v1/layers/{name}/versions': { code: { artifact: `sha256:${'0'.repeat(64)}` } },
      }
      const body = row.path.includes('aliases/')
        ? { version: 1 }
        : row.path.includes('secrets/')
          ? { value: 'v' }
          : (bodies[row.path] ?? {})
      const reply = await call(
        narrow,
        row.method,
        path,
        ['GET', 'HEAD'].includes(row.method)
          ? undefined
          : row.body === 'bytes' && row.path !== '/v1/functions/{name}/invoke'
            ? Buffer.from('x')
            : body,
        row.body === 'bytes' ? { 'content-type': 'application/zip' } : {},
      )
      assert.equal(reply.status, 403, `${row.method} ${path}: ${reply.body.toString()}`)
    }
  }
})

test('a key hands on only scopes it has, a revoked one is refused at once', async () => {
  const maker = await key(['keys:write', 'invoke:*'])
  assert.equal((await call(maker, 'POST', '/v1/keys', { name: 'wider', scopes: ['admin'] })).status, 403)
  const made = (await call(maker, 'POST', '/v1/keys', { name: 'same', scopes: ['invoke:echo'] })).json<{
    key: { id: string }
    token: string
  }>()
  const target = { url: api.url, apiKey: made.token }
  assert.equal((await invoke(target, 'echo', { n: 1 })).status, 200)
  assert.equal((await call(api, 'DELETE', `/v1/keys/${made.key.id}`)).status, 200)
  assert.equal((await invoke(target, 'echo', { n: 1 })).status, 401)
})

test('a function cannot be given permissions that its deployer lacks', async () => {
  const deployer = await key(['functions:write', 'functions:read'])
  const reply = await call(deployer, 'PATCH', '/v1/functions/echo', { permissions: ['admin'] })
  assert.equal(reply.status, 403)
})

/* header, value, status, text */
const headerRows: readonly (readonly [string, string, number, string])[] = [
  ['hearth-timeout-ms', 'soon', 400, 'Hearth-Timeout-Ms'],
  ['hearth-deadline-ms', '-1', 400, 'Hearth-Deadline-Ms'],
  ['hearth-priority', '6', 400, 'Hearth-Priority'],
  ['hearth-log', 'all', 400, 'Hearth-Log'],
  ['prefer', 'respond-async', 400, 'not supported yet'],
  ['idempotency-key', 'k', 400, 'not supported yet'],
  ['hearth-deadline-ms', '1000', 503, 'deadline'],
  ['content-encoding', 'gzip', 415, '"field":"Content-Encoding"'],
  ['content-encoding', 'identity', 200, '{}'],
]
for (const [header, value, status, text] of headerRows)
  test(`invoke with ${header}: ${value}: ${status}`, async () => {
    const reply = await invoke(api, 'echo', {}, { [header]: value })
    assert.equal(reply.status, status, reply.body.toString())
    assert.ok(reply.body.toString().includes(text), reply.body.toString())
  })

test('invoke: a body that is not JSON is refused as such, other types pass as bytes, an empty one is {}', async () => {
  const bad = await call(api, 'POST', '/v1/functions/echo/invoke', Buffer.from('{'), {
    'content-type': 'application/json',
  })
  assert.equal(bad.status, 400)
  assert.match(bad.body.toString(), /not JSON/)
  const capital = await call(api, 'POST', '/v1/functions/echo/invoke', Buffer.from('{'), {
    'content-type': 'Application/JSON',
  })
  assert.equal(capital.status, 400)
  const empty = await call(api, 'POST', '/v1/functions/echo/invoke', Buffer.alloc(0))
  assert.equal(empty.body.toString(), '{}')
})

test('invoke: more than 6 MB is 413 and the connection survives long enough to say so', async () => {
  const reply = await call(api, 'POST', '/v1/functions/echo/invoke', Buffer.alloc(6 * 1024 * 1024 + 1, 0x20), {
    'content-type': 'application/octet-stream',
  })
  assert.equal(reply.status, 413)
})

test('a client that goes away cancels its invocation', async () => {
  const { faults } = api.driver
  faults.hangOnInvoke = true
  await deployFiles(api, nodeFunction('hanging', '// hang'))
  const abort = new AbortController()
  const pending = fetch(`${api.url}/v1/functions/hanging/invoke`, {
    method: 'POST',
    headers: { authorization: `Bearer ${api.apiKey}` },
    signal: abort.signal,
  }).catch(() => null)
  const running = async (): Promise<number> =>
    (await call(api, 'GET', '/v1/functions/hanging')).json<{ stats: { running: number } }>().stats.running
  while ((await running()) === 0) await new Promise((resolve) => setTimeout(resolve, 10))
  abort.abort()
  await pending
  while ((await running()) > 0) await new Promise((resolve) => setTimeout(resolve, 10))
  faults.hangOnInvoke = false
  const view = (await call(api, 'GET', '/v1/functions/hanging')).json<{ stats: { outcomes: Record<string, number> } }>()
  assert.deepEqual(view.stats.outcomes, { cancelled: 1 })
})

test('POST /v1/invocations/{id}/cancel: the caller of the invocation gets 499', async () => {
  api.driver.faults.hangOnInvoke = true
  await deployFiles(api, nodeFunction('stopped', '// stop'))
  const pending = invoke(api, 'stopped')
  let id: string | undefined
  while (id === undefined) {
    await new Promise((resolve) => setTimeout(resolve, 10))
    const list = await api.agent.list()
    if (list.some((instance) => instance.version === 'default/stopped:1' && instance.state === 'busy'))
      id = (await listed('/v1/functions/stopped/invocations')).find(({ state }) => state === 'running')?.id
  }
  api.driver.faults.hangOnInvoke = false
  await invoke(api, 'echo')
  const [first, second] = await listed('/v1/invocations?limit=2')
  assert.deepEqual([first?.id, first?.state, first?.outcome], [id, 'running', null], 'what runs is ahead of what ended')
  assert.deepEqual([second?.function, second?.outcome], ['echo', 'succeeded'])
  const stranger = await key(['invoke:stopped'])
  assert.equal((await call(stranger, 'GET', '/v1/invocations')).status, 403)
  assert.deepEqual((await call(api, 'POST', `/v1/invocations/${id}/cancel`)).json(), { cancelled: true })
  const reply = await pending
  assert.equal(reply.status, 499)
  assert.equal(reply.headers.get('hearth-outcome'), 'cancelled')
  const ended = (await listed('/v1/invocations')).filter((receipt) => receipt.id === id)
  assert.deepEqual(
    ended.map(({ state, outcome }) => [state, outcome]),
    [['done', 'cancelled']],
  )
})

interface Listed {
  readonly id: string
  readonly function: string
  readonly state: string
  readonly outcome: string | null
}

async function listed(path: string): Promise<readonly Listed[]> {
  return (await call(api, 'GET', path)).json<{ items: Listed[] }>().items
}

test('DELETE /v1/functions/{name}/versions/{number}: not while it is called, then for good', async () => {
  await deployFiles(api, nodeFunction('shed', '// 1'))
  await call(api, 'PATCH', '/v1/functions/shed', { memoryMib: 512 })
  await call(api, 'PATCH', '/v1/functions/shed', { memoryMib: 1024 })
  api.driver.faults.hangOnInvoke = true
  const abort = new AbortController()
  const pending = fetch(`${api.url}/v1/functions/shed:1/invoke`, {
    method: 'POST',
    headers: { authorization: `Bearer ${api.apiKey}` },
    signal: abort.signal,
  }).catch(() => null)
  while ((await listed('/v1/functions/shed/invocations')).every(({ state }) => state !== 'running'))
    await new Promise((resolve) => setTimeout(resolve, 10))
  api.driver.faults.hangOnInvoke = false
  const remove = async (number: number): Promise<Reply> => call(api, 'DELETE', `/v1/functions/shed/versions/${number}`)
  const busy = await remove(1)
  assert.equal(busy.status, 409)
  assert.match(busy.body.toString(), /version 1 of function \\"shed\\" is being called/)
  assert.equal((await remove(2)).status, 204)
  assert.equal((await remove(2)).status, 404)
  assert.equal((await remove(3)).status, 409)
  abort.abort()
  await pending
  while ((await remove(1)).status === 409) await new Promise((resolve) => setTimeout(resolve, 10))
  assert.equal((await invoke(api, 'shed:1')).status, 404)
  assert.equal((await call(api, 'POST', '/v1/functions/shed/rollback', {})).status, 409)
  assert.equal((await invoke(api, 'shed')).status, 200)
})

/** What the platform answers to these bytes. */
async function say(text: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = net.connect(Number(new URL(api.url).port), '127.0.0.1', () => socket.write(text))
    let got = ''
    socket.on('data', (chunk: Buffer) => (got += chunk.toString()))
    socket.on('close', () => resolve(got))
    socket.on('error', reject)
    socket.setTimeout(3_000, () => socket.destroy())
  })
}

test('raw targets with steps match no other route: nothing in a path is resolved', async () => {
  await deployFiles(api, nodeFunction('stepped', '//'))
  const targets = [
    '/v1/storage/fns/../../functions/stepped',
    '/v1/storage/fns/%2e%2e/%2E%2e/functions/stepped',
    '/v1/storage/fns/..%2f..%2ffunctions%2fstepped',
    '/v1/storage/../functions/stepped',
    '/v1/secrets/../functions/stepped',
    '/v1/./functions/stepped',
    '/v1//functions/stepped',
    '/v1/functions/./stepped',
    '/v1/functions/../functions/stepped',
    '/v1/functions/%2e%2e',
    '/v1/functions/..',
    '/v1/functions/x/../stepped',
    '/v1/functions/x%2f..%2fstepped',
    '/v1/functions\\stepped',
    '/x/../v1/functions/stepped',
    'http://any/v1/storage/../functions/stepped',
  ]
  for (const target of targets)
    for (const method of ['DELETE', 'GET']) {
      const head = `${method} ${target} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${api.apiKey}\r\nConnection: close`
      assert.match(await say(`${head}\r\n\r\n`), /^HTTP\/1.1 (400|404|405) /, `${method} ${target}`)
    }
  assert.equal((await call(api, 'GET', '/v1/functions/stepped')).status, 200)
})

test('slow and malformed clients: bad requests are cut, the server goes on', async () => {
  assert.match(await say('NOT HTTP\r\n\r\n'), /^HTTP\/1.1 400/)
  assert.match(await say(`GET /healthz HTTP/1.1\r\nHost: x\r\nX: ${'y'.repeat(20_000)}\r\n\r\n`), /^HTTP\/1.1 431/)
  assert.equal((await call(api, 'GET', '/healthz')).status, 200)
})

test('the OpenAPI document is valid 3.1 and names every route', async () => {
  const document = (await call(api, 'GET', '/openapi.json')).json()
  const { valid, errors } = await new Validator().validate(document)
  assert.ok(valid, JSON.stringify(errors))
  const paths = document['paths'] as Record<string, Record<string, unknown>>
  for (const row of Object.values<Route>(routes))
    assert.ok(paths[row.path.replace('...}', '}')]?.[row.method.toLowerCase()], `${row.method} ${row.path}`)
})

test('SDK: uploads once, lists, invokes, follows logs, throws HearthError with its fields', async () => {
  const client = createClient(api)
  const bytes = await zipOf({ 'index.js': '// sdk' })
  const artifact = await client.uploadArtifact(bytes)
  assert.equal(artifact, `sha256:${createHash('sha256').update(bytes).digest('hex')}`)
  assert.equal(await upload(api, bytes), artifact)
  const view = await client.createFunction({
    body: { name: 'by-sdk', runtime: 'node', handler: 'index.handler', code: { artifact } },
  })
  assert.equal(view.version, 1)
  const result = await client.invoke('by-sdk', '{"n":1}', { wantLogTail: true })
  assert.equal(result.outcome, 'succeeded')
  assert.match(result.logTail ?? '', /REPORT RequestId/)
  const abort = new AbortController()
  for await (const line of client.followLogs('by-sdk', { signal: abort.signal, fromOffset: 0 })) {
    assert.match(line.text, /START RequestId/)
    abort.abort()
  }
  await assert.rejects(
    client.getFunction({ name: 'absent' }),
    (error: unknown) => error instanceof HearthError && error.status === 404 && error.code === 'not_found',
  )
  await assert.rejects(
    client.updateFunction({ name: 'by-sdk', body: { memoryMib: 1 } }),
    (error: unknown) => error instanceof HearthError && error.field === 'memoryMib' && error.value === 1,
  )
})

test('logs that are followed: end when the key is revoked, when the function is deleted, and for what came after it', async () => {
  const spec = nodeFunction('followed', '//')
  await deployFiles(api, spec)
  await invoke(api, 'followed', 1)
  const reader = await key(['logs:read'])
  const keyId = reader.apiKey.split('_')[1] ?? ''
  const follow = async (target: Target, onLine: () => void): Promise<string[]> => {
    const texts: string[] = []
    const { signal } = new AbortController()
    const lines = createClient(target).followLogs('followed', { signal, fromOffset: 0 })
    try {
      for await (const { text } of lines) if (texts.push(text) === 1) onLine()
    } catch (error) {
      return [...texts, String(error)]
    }
    return texts
  }
  const ended = await follow(reader, () => void call(api, 'DELETE', `/v1/keys/${keyId}`))
  assert.match(ended.at(-1) ?? '', /HearthError: The key was revoked/)
  const orphaned = await follow(api, () => void call(api, 'DELETE', '/v1/functions/followed'))
  assert.match(orphaned.at(-1) ?? '', /HearthError: Function "followed" was deleted/)
  await deployFiles(api, spec)
  const headers = { authorization: `Bearer ${api.apiKey}`, 'hearth-log-id': '1' }
  const late = await fetch(`${api.url}/v1/functions/followed/logs?follow=true`, { headers })
  assert.equal(late.status, 404)
  await late.body?.cancel()
})

test('secrets that no Instance could be started with are refused: at the deploy, when they are set, when they are rotated', async () => {
  const set = async (name: string, value: string): Promise<Reply> => call(api, 'PUT', `/v1/secrets/${name}`, { value })
  const names = ['wide-1', 'wide-2', 'wide-3', 'wide-4', 'wide-5']
  for (const name of names) assert.equal((await set(name, 'x'.repeat(16_000))).status, 200)
  const escaped = await set('escapes', '\u0001'.repeat(12_000))
  assert.equal(escaped.status, 400)
  assert.match(escaped.body.toString(), /"field":"value","value":"72002 bytes as JSON","allowed":"at most 63488 bytes/)
  const secretsOf = (count: number): Record<string, string> =>
    Object.fromEntries(names.slice(0, count).map((name, index) => [`S${index}`, name]))
  await assert.rejects(
    deployFiles(api, nodeFunction('wide', '//', { secrets: secretsOf(5) })),
    /Invalid secrets .{2}8\d{4} bytes as JSON.{2}: must be at most 63488 bytes as JSON, together with env and command/,
  )
  await deployFiles(
    api,
    nodeFunction('wide', '//', { secrets: secretsOf(3), env: { A: 'x'.repeat(4_000), constructor: 'y' } }),
  )
  assert.equal((await invoke(api, 'wide', 1)).status, 200)
  const updated = await call(api, 'PATCH', '/v1/functions/wide', { secrets: secretsOf(4) })
  assert.equal(updated.status, 400)
  assert.match(updated.body.toString(), /"field":"secrets"/)
  const rotated = await set('wide-1', '\n'.repeat(16_000))
  assert.equal(rotated.status, 400)
  assert.match(rotated.body.toString(), /"field":"value".*other secrets of function \\"wide\\"/)
  assert.equal((await set('wide-1', 'y'.repeat(16_000))).status, 200)
  assert.equal((await invoke(api, 'wide', 1)).status, 200)
})

test('paging: every function once, in order', async () => {
  for (let n = 0; n < 7; n++) await deployFiles(api, nodeFunction(`page-${n}`, '//'))
  const seen: string[] = []
  let cursor: string | null = ''
  while (cursor !== null) {
    const page: { items: { name: string }[]; nextCursor: string | null } = (
      await call(api, 'GET', `/v1/functions?limit=3${cursor === '' ? '' : `&cursor=${cursor}`}`)
    ).json()
    assert.ok(page.items.length <= 3)
    seen.push(...page.items.map(({ name }) => name))
    cursor = page.nextCursor
  }
  assert.deepEqual(seen, [...new Set(seen)].sort())
  assert.ok(seen.includes('page-6'))
})
