import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { after, before, test } from 'node:test'
import { call, deployFiles, invoke, nodeFunction, type Target } from '../support/functions.ts'
import { limitsMissing } from '../support/launcher.ts'
import { until } from '../support/until.ts'
import { startPlatform, type Platform } from '../support/platform.ts'

/* The life of Instances and versions as a user sees it: starts and their causes, reuse, freezing, queueing, secrets, keys, projects. */

let platform: Platform
before(async () => {
  platform = await startPlatform()
})
after(async () => platform.stop())

const pidCode =
  'const started = Date.now()\nexports.handler = async (event) => { await new Promise((r) => setTimeout(r, event.ms ?? 0)); return { started, ticks: globalThis.ticks ?? 0 } }\n'
const start = (headers: Headers): string => headers.get('hearth-start') ?? ''

test('starts: the first is cold and says why, the next is warm on the same Instance', async () => {
  await deployFiles(platform, nodeFunction('starts', pidCode))
  const first = await invoke(platform, 'starts')
  assert.match(start(first.headers), /^cold;source=(pool|snapshot|boot);cause=first$/)
  const second = await invoke(platform, 'starts')
  assert.equal(start(second.headers), 'warm')
  assert.equal(second.json<{ started: number }>().started, first.json<{ started: number }>().started)
})

test('starts: a receipt explains the ready time by its phases', async () => {
  await deployFiles(platform, nodeFunction('phases', pidCode))
  const id = (await invoke(platform, 'phases')).headers.get('hearth-invocation-id')
  const receipt = (await call(platform, 'GET', `/v1/invocations/${id}`)).json<{
    phases: { phase: string; startMs: number; durationMs: number; source: string; bytes: number }[]
    coldCause: string
    attempts: unknown[]
    effect: string
  }>()
  const names = receipt.phases.map((phase) => phase.phase)
  const made = names.includes('restore') ? ['restore'] : ['sandbox', 'network']
  for (const needed of ['admit', ...made, 'runtime_boot', 'code_load', 'first_request'])
    assert.ok(names.includes(needed), `${needed} in ${names.join(' ')}`)
  assert.equal(receipt.coldCause, 'first')
  assert.equal(receipt.attempts.length, 1)
  assert.equal(receipt.effect, 'completed')
})

test('starts: a new version is cold with cause new_version, and running invocations of the old one finish', async () => {
  await deployFiles(platform, nodeFunction('updated', pidCode))
  await invoke(platform, 'updated')
  const running = invoke(platform, 'updated', { ms: 700 })
  await new Promise((resolve) => setTimeout(resolve, 100))
  const patched = await call(platform, 'PATCH', '/v1/functions/updated', { memoryMib: 128 })
  assert.equal(patched.status, 200, patched.body.toString())
  const fresh = await invoke(platform, 'updated')
  assert.equal(fresh.headers.get('hearth-version'), '2')
  assert.match(start(fresh.headers), /cause=new_version/)
  const old = await running
  assert.equal(old.status, 200)
  assert.equal(old.headers.get('hearth-version'), '1')
})

test('reuse never: each invocation has an Instance of its own', async () => {
  await deployFiles(
    platform,
    nodeFunction('once', 'let n = 0\nexports.handler = async () => ++n\n', { reuse: 'never' }),
  )
  for (let n = 0; n < 5; n++) {
    const reply = await invoke(platform, 'once')
    assert.equal(reply.body.toString(), '1')
    assert.match(start(reply.headers), /cause=(first|reuse_never)/)
  }
})

const freezing = { skip: limitsMissing }
test(
  "freeze: an idle Instance's CPU stops, waitUntil work holds it open, an invocation thaws it",
  freezing,
  async () => {
    const code = `
let ticks = 0
setInterval(() => { ticks++ }, 10)
exports.handler = async (event, context) => {
  if (event.work) context.waitUntil(new Promise((r) => setTimeout(r, 600)))
  return ticks
}`
    await deployFiles(platform, nodeFunction('frozen', code, { freezeAfterMs: 50 }))
    const ticks = async (event = {}): Promise<number> =>
      Number((await invoke(platform, 'frozen', event)).body.toString())
    await ticks()
    await new Promise((resolve) => setTimeout(resolve, 200))
    const before = await ticks()
    await new Promise((resolve) => setTimeout(resolve, 1_000))
    const idle = (await ticks()) - before
    assert.ok(idle < 40, `${idle} ticks of 10 ms in 1 s idle: not frozen`)
    const withWork = await ticks({ work: true })
    await new Promise((resolve) => setTimeout(resolve, 1_000))
    const worked = (await ticks()) - withWork
    assert.ok(worked > 40, `${worked} ticks with 600 ms of waitUntil work: frozen too early`)
  },
)

test('keep-alive: an idle Instance is reaped, and the next start says idle', async () => {
  await deployFiles(platform, nodeFunction('brief', pidCode, { keepAliveMs: 300 }))
  await invoke(platform, 'brief')
  await new Promise((resolve) => setTimeout(resolve, 1_500))
  assert.match(start((await invoke(platform, 'brief')).headers), /cause=idle/)
})

test('crash: the next start says crash', async () => {
  await deployFiles(
    platform,
    nodeFunction('fragile', 'exports.handler = async (event) => { if (event.die) process.exit(1); return 1 }\n'),
  )
  await invoke(platform, 'fragile', { die: true })
  assert.match(start((await invoke(platform, 'fragile')).headers), /cause=crash/)
})

test('init: a module that throws answers with init_error and the failing phase', async () => {
  await deployFiles(platform, nodeFunction('broken', "throw new Error('cannot come up')\n"))
  const reply = await invoke(platform, 'broken')
  assert.equal(reply.status, 502)
  assert.equal(reply.headers.get('hearth-effect'), 'never_started')
  assert.match(reply.body.toString(), /cannot come up/)
  const receipt = (await call(platform, 'GET', `/v1/invocations/${reply.headers.get('hearth-invocation-id')}`)).json<{
    crashReason: string
  }>()
  assert.equal(receipt.crashReason, 'init_error')
})

test('init: a module that never loads answers within the init limit', async () => {
  await deployFiles(platform, nodeFunction('stuck', 'while (true) {}\n', { initTimeoutMs: 500 }))
  const startedAt = performance.now()
  const reply = await invoke(platform, 'stuck')
  assert.equal(reply.status, 502)
  // Its own limit, and not the 10 s of all.
  assert.ok(performance.now() - startedAt < 9_000)
  const receipt = (await call(platform, 'GET', `/v1/invocations/${reply.headers.get('hearth-invocation-id')}`)).json<{
    crashReason: string
  }>()
  assert.equal(receipt.crashReason, 'init_timeout')
})

test('at capacity: what the queue holds waits its turn, what it cannot hold is 429 with Retry-After', async () => {
  await deployFiles(platform, nodeFunction('narrow', pidCode, { concurrency: 1, timeoutMs: 20_000 }))
  await invoke(platform, 'narrow')
  const replies = await Promise.all(Array.from({ length: 400 }, async () => invoke(platform, 'narrow', { ms: 20 })))
  const statuses = new Map<number, number>()
  for (const reply of replies) statuses.set(reply.status, (statuses.get(reply.status) ?? 0) + 1)
  assert.ok((statuses.get(200) ?? 0) >= 10, JSON.stringify([...statuses]))
  const refused = replies.find((reply) => reply.status === 429)
  assert.ok(refused, JSON.stringify([...statuses]))
  assert.match(refused.headers.get('retry-after') ?? '', /^\d+$/)
  assert.match(refused.headers.get('hearth-overload') ?? '', /.+;.+/)
  assert.equal(refused.headers.get('hearth-effect'), 'never_started')
})

test('deadline: what cannot start in time is expired, and says never_started', async () => {
  await deployFiles(platform, nodeFunction('late', pidCode, { concurrency: 1 }))
  await invoke(platform, 'late')
  const busy = invoke(platform, 'late', { ms: 800 })
  await new Promise((resolve) => setTimeout(resolve, 50))
  const reply = await invoke(platform, 'late', {}, { 'hearth-timeout-ms': '200' })
  assert.equal(reply.status, 503)
  assert.equal(reply.headers.get('hearth-outcome'), 'expired')
  assert.equal(reply.headers.get('hearth-effect'), 'never_started')
  assert.equal(reply.headers.get('hearth-overload'), 'function-concurrency;deadline_passed')
  assert.match(reply.headers.get('retry-after') ?? '', /^\d+$/)
  const told =
    /could start\. Function "late" runs its maximum of 1 invocations at a time .* --concurrency N" raises it\./
  assert.match(reply.json<{ errorMessage: string }>().errorMessage, told)
  await busy
})

test('secrets: handed over at BIND, rotated into new Instances, in no log, view or receipt', async () => {
  const put = async (value: string) => call(platform, 'PUT', '/v1/secrets/db-password', { value })
  assert.ok((await put('first-value')).status < 300)
  await deployFiles(
    platform,
    nodeFunction('secretive', 'exports.handler = async () => process.env.DB_PASSWORD\n', {
      secrets: { DB_PASSWORD: 'db-password' },
    }),
  )
  assert.equal((await invoke(platform, 'secretive')).json<string>(), 'first-value')
  assert.ok((await put('second-value')).status < 300)
  assert.equal((await invoke(platform, 'secretive')).json<string>(), 'second-value')
  for (const path of ['/v1/functions/secretive', '/v1/secrets', '/v1/audit', '/v1/functions/secretive/logs?tail=100'])
    assert.doesNotMatch((await call(platform, 'GET', path)).body.toString(), /first-value|second-value/, path)
  assert.doesNotMatch(platform.output(), /first-value|second-value/)
  const refused = await call(platform, 'DELETE', '/v1/secrets/db-password')
  assert.equal(refused.status, 409, refused.body.toString())
})

test('keys: no key 401, a narrow key invokes its function alone and never learns what exists', async () => {
  await deployFiles(platform, nodeFunction('public', 'exports.handler = async () => 1\n'))
  assert.equal((await fetch(`${platform.url}/v1/functions/public/invoke`, { method: 'POST' })).status, 401)
  const made = (await call(platform, 'POST', '/v1/keys', { name: 'narrow', scopes: ['invoke:public'] })).json<{
    token: string
  }>()
  const narrow: Target = { url: platform.url, apiKey: made.token }
  assert.equal((await invoke(narrow, 'public')).status, 200)
  assert.equal((await invoke(narrow, 'starts')).status, 403)
  assert.equal((await invoke(narrow, 'absent')).status, 403)
  assert.equal((await call(narrow, 'GET', '/v1/functions/absent')).status, 403)
  const forged: Target = { url: platform.url, apiKey: `${made.token.slice(0, -2)}xx` }
  assert.equal((await invoke(forged, 'public')).status, 401)
})

test('keys: the admin key file is 0600', async () => {
  const { stat } = await import('node:fs/promises')
  assert.equal((await stat(`${platform.data}/admin.key`)).mode & 0o777, 0o600)
})

const asRoot = { skip: process.getuid?.() === 0 ? false : 'without root the platform runs as whoever starts it' }
test('the platform that root starts runs as its own user, without rights', asRoot, async () => {
  const status = await readFile(`/proc/${platform.pid}/status`, 'utf8')
  assert.doesNotMatch(status, /^Uid:\s+0\s/m)
  assert.match(status, /^CapEff:\s+0000000000000000$/m)
  assert.match(status, /^NoNewPrivs:\s+1$/m)
})

test('projects: the same name in two projects are two functions, and a key sees its own alone', async () => {
  assert.ok((await call(platform, 'POST', '/v1/projects', { name: 'other' })).status < 300)
  const made = (
    await call(platform, 'POST', '/v1/keys', { name: 'other-admin', scopes: ['admin'], project: 'other' })
  ).json<{ token: string }>()
  const other: Target = { url: platform.url, apiKey: made.token }
  await deployFiles(platform, nodeFunction('shared-name', "exports.handler = async () => 'default'\n"))
  await deployFiles(other, nodeFunction('shared-name', "exports.handler = async () => 'other'\n"))
  assert.equal((await invoke(platform, 'shared-name')).json<string>(), 'default')
  assert.equal((await invoke(other, 'shared-name')).json<string>(), 'other')
  const names = (await call(other, 'GET', '/v1/functions'))
    .json<{ items: { name: string }[] }>()
    .items.map((item) => item.name)
  assert.deepEqual(names, ['shared-name'])
})

test('logs: lines with invocation id and START, END, REPORT are readable within a second; the tail comes with the reply', async () => {
  await deployFiles(
    platform,
    nodeFunction('chatty', "exports.handler = async (event) => { console.log('hello from', event.who); return 1 }\n"),
  )
  const reply = await invoke(platform, 'chatty', { who: 'the test' }, { 'hearth-log': 'tail' })
  const id = reply.headers.get('hearth-invocation-id') ?? ''
  assert.match(Buffer.from(reply.headers.get('hearth-log-result') ?? '', 'base64').toString(), /hello from the test/)
  await new Promise((resolve) => setTimeout(resolve, 900))
  const text = (await call(platform, 'GET', '/v1/functions/chatty/logs?tail=50')).body.toString()
  for (const needed of ['START RequestId', 'END RequestId', 'REPORT RequestId', 'hello from the test', id])
    assert.ok(text.includes(needed), `${needed} in ${text}`)
})

test('delete: what runs comes to its end, what waits is 404, and one made anew has nothing of the old', async () => {
  const code = (word: string): string =>
    `const started = Date.now()\nexports.handler = async ({ ms = 0 }) => { console.log('${word}'); await new Promise((r) => setTimeout(r, ms)); console.log('${word}'); return started }\n`
  const config = { config: { concurrency: 1, memoryMib: 128 } }
  await deployFiles(platform, { ...nodeFunction('passing', code('of the old')), ...config })
  await invoke(platform, 'passing')
  const [running, ...waiting] = [1_500, 1, 1].map(async (ms) => invoke(platform, 'passing', { ms }))
  const isQueued = async (): Promise<true | string> => {
    const text = (await call(platform, 'GET', '/v1/functions/passing')).body.toString()
    return text.includes('"queued":2') || text
  }
  await until(isQueued, { what: 'two that wait' })
  assert.equal((await call(platform, 'DELETE', '/v1/functions/passing')).status, 204)
  for (const reply of await Promise.all(waiting)) {
    assert.equal(reply.status, 404, reply.body.toString())
    const { error } = reply.json<{ error: { code: string; retryable: boolean } }>()
    assert.deepEqual([error.code, error.retryable], ['not_found', false])
    assert.equal(reply.headers.get('hearth-effect'), 'never_started')
  }
  await deployFiles(platform, { ...nodeFunction('passing', code('of the new')), ...config })
  await invoke(platform, 'passing')
  assert.equal((await running)?.status, 200)
  const log = (await call(platform, 'GET', '/v1/functions/passing/logs?tail=50')).body.toString()
  assert.ok(log.includes('of the new') && !log.includes('of the old'), log)
})

test('rollback: repoints $LATEST without a new version, and aliases stay where they are', async () => {
  await deployFiles(platform, nodeFunction('rolled', "exports.handler = async () => process.env.WHICH ?? 'one'\n"))
  assert.equal((await call(platform, 'PATCH', '/v1/functions/rolled', { env: { WHICH: 'two' } })).status, 200)
  assert.ok((await call(platform, 'PUT', '/v1/functions/rolled/aliases/live', { version: 2 })).status < 300)
  assert.equal((await invoke(platform, 'rolled')).json<string>(), 'two')
  assert.equal((await call(platform, 'POST', '/v1/functions/rolled/rollback', {})).status, 200)
  assert.equal((await invoke(platform, 'rolled')).json<string>(), 'one')
  assert.equal((await invoke(platform, 'rolled:live')).json<string>(), 'two')
  assert.equal((await invoke(platform, 'rolled:1')).headers.get('hearth-version'), '1')
  assert.equal((await invoke(platform, 'rolled:9')).status, 404)
})

test('bad input: out-of-range values name field, value and range', async () => {
  for (const [field, value] of [
    ['memoryMib', 64],
    ['timeoutMs', 500],
    ['concurrency', 0],
    ['runtime', 'node99'],
    ['handler', ''],
    ['unknownField', 1],
  ] as const) {
    const reply = await call(platform, 'PATCH', '/v1/functions/public', { [field]: value })
    assert.equal(reply.status, 400, `${field}: ${reply.body.toString()}`)
    const { error } = reply.json<{ error: { code: string; message: string; field?: string } }>()
    assert.equal(error.code, 'invalid')
    assert.ok(`${error.field} ${error.message}`.includes(field), JSON.stringify(error))
  }
})

test('metrics: counts by outcome and cold starts by cause', async () => {
  const text = (await call(platform, 'GET', '/metrics')).body.toString()
  assert.match(text, /hearth_invocations_total\{[^}]*function="starts"[^}]*\} [1-9]/)
  assert.match(text, /hearth_cold_starts_total\{[^}]*cause="first"[^}]*\} [1-9]/)
})
