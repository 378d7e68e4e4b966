import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { call, deployFiles, invoke, nodeFunction } from '../support/functions.ts'
import { startPlatform, type Platform } from '../support/platform.ts'

/* Under `network: none` a function reaches the platform's own API, with its Instance's identity, and nothing else. */

let platform: Platform
const caller = `
exports.handler = async ({ method, path, headers, body }) => {
  const reply = await fetch(process.env.HEARTH_API_URL + path, { method: method ?? 'GET', headers, body })
  return { status: reply.status, body: await reply.text() }
}
`

before(async () => {
  platform = await startPlatform()
  const base = { runtime: 'node', handler: 'index.handler', files: { 'index.js': caller } }
  await deployFiles(platform, { ...base, name: 'nobody' })
  await deployFiles(platform, { ...base, name: 'reader', config: { permissions: ['functions:read', 'invoke:target'] } })
  await deployFiles(platform, nodeFunction('target', 'exports.handler = async (event) => ({ got: event })\n'))
})
after(async () => platform.stop())

async function ask(name: string, request: Record<string, unknown>): Promise<{ status: number; body: string }> {
  const reply = await invoke(platform, name, request)
  assert.equal(reply.headers.get('hearth-outcome'), 'succeeded', reply.body.toString())
  return reply.json()
}

test('platform-api: a function with functions:read lists functions under network none', async () => {
  const { status, body } = await ask('reader', { path: '/v1/functions' })
  assert.equal(status, 200)
  assert.match(body, /"reader"/)
})

test('platform-api: a function may invoke what its permissions name', async () => {
  const { status, body } = await ask('reader', {
    path: '/v1/functions/target/invoke',
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: '{"n":1}',
  })
  assert.equal(status, 200)
  assert.deepEqual(JSON.parse(body), { got: { n: 1 } })
})

test('platform-api: what the permissions do not name is 403, whether or not it exists', async () => {
  for (const path of ['/v1/functions/nobody/invoke', '/v1/functions/absent/invoke']) {
    const { status } = await ask('reader', { path, method: 'POST', body: '{}' })
    assert.equal(status, 403, path)
  }
  assert.equal((await ask('nobody', { path: '/v1/functions' })).status, 403)
})

test("platform-api: a bearer key in the request does not widen the Instance's identity", async () => {
  const { status } = await ask('nobody', {
    path: '/v1/functions',
    headers: { authorization: `Bearer ${platform.apiKey}` },
  })
  assert.equal(status, 403)
})

test('platform-api: open routes answer', async () => {
  assert.equal((await ask('nobody', { path: '/healthz' })).status, 200)
})

test("platform-api: the audit log names the Instance's function as actor", async () => {
  await deployFiles(platform, {
    runtime: 'node',
    handler: 'index.handler',
    files: { 'index.js': caller },
    name: 'writer',
    config: { permissions: ['secrets:write'] },
  })
  const { status } = await ask('writer', {
    path: '/v1/secrets/from-function',
    method: 'PUT',
    headers: { 'content-type': 'application/json' },
    body: '{"value":"v"}',
  })
  assert.ok(status < 300, String(status))
  const audit = (await call(platform, 'GET', '/v1/audit?limit=5')).json<{
    items: { actor: string; action: string }[]
  }>()
  assert.ok(
    audit.items.some((entry) => entry.actor === 'instance:writer' && entry.action.startsWith('secret.')),
    JSON.stringify(audit.items),
  )
})
