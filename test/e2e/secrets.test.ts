import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { call, deployFiles, invoke } from '../support/functions.ts'
import type { FakeMeta } from '../support/agent-rig.ts'
import { startInProcess, type InProcess } from '../support/in-process.ts'

/* Secrets from the API to the BIND of an Instance: rotated into new ones, and nowhere to be read. */

let api: InProcess
before(async () => {
  const handler = (_event: unknown, { instanceId, bind }: FakeMeta) => ({ instanceId, env: bind.env })
  api = await startInProcess({ driver: { handler } })
})
after(async () => api.close())

const put = async (value: unknown) => call(api, 'PUT', '/v1/secrets/db', { value })

interface Seen {
  readonly instanceId: string
  readonly env: Readonly<Record<string, string>>
}

test('secrets: a rotation retires warm Instances that hold the old value and no others', async () => {
  assert.equal((await put('first-value')).status, 200)
  const common = { runtime: 'node', handler: 'index.handler', files: { 'index.js': '//' } }
  await deployFiles(api, { name: 'holds', ...common, config: { secrets: { DB: 'db' } } })
  await deployFiles(api, { name: 'without', ...common })
  const before = { holds: await seen('holds'), without: await seen('without') }
  assert.equal(before.holds.env['DB'], 'first-value')
  assert.equal((await seen('holds')).instanceId, before.holds.instanceId)
  assert.equal((await put('second-value')).json<{ revision: number }>().revision, 2)
  const reply = await invoke(api, 'holds')
  assert.match(reply.headers.get('hearth-start') ?? '', /^cold;source=\w+;cause=evicted$/)
  assert.equal(reply.json<Seen>().env['DB'], 'second-value')
  assert.notEqual(reply.json<Seen>().instanceId, before.holds.instanceId)
  assert.equal((await seen('without')).instanceId, before.without.instanceId)
})

async function seen(name: string): Promise<Seen> {
  return (await invoke(api, name)).json<Seen>()
}

test("secrets: no value in a view, an error, the audit log, a receipt, a log or the platform's own log", async () => {
  const value = 'never-to-be-seen'
  assert.equal((await put(value)).status, 200)
  const id = (await invoke(api, 'holds')).headers.get('hearth-invocation-id') ?? ''
  const refused = [
    await put([value]),
    await put({ [value]: value }),
    await put(value.repeat(2_000)),
    await put(`${value}\0`),
  ]
  for (const reply of refused) assert.equal(reply.status, 400, reply.body.toString())
  const broken = await call(api, 'PUT', '/v1/secrets/db', Buffer.from(`{"value": ${value}}`), {
    'content-type': 'application/json',
  })
  assert.equal(broken.status, 400)
  const used = await call(api, 'DELETE', '/v1/secrets/db')
  assert.equal(used.status, 409)
  const paths = ['/v1/secrets', '/v1/audit', '/v1/functions/holds', '/v1/functions/holds/versions', '/metrics']
  paths.push(`/v1/invocations/${id}`, '/v1/functions/holds/logs?tail=100', '/v1/functions/holds/invocations')
  const views = await Promise.all(paths.map(async (path) => call(api, 'GET', path)))
  for (const { status, body } of views) assert.equal(status, 200, body.toString())
  const written = [...refused, broken, used, ...views].map(({ body }) => body.toString())
  for (const text of [...written, ...api.logged]) assert.ok(!text.includes(value), text)
})
