import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { Readable } from 'node:stream'
import { after, before, test } from 'node:test'
import { routes, type Route, type Routes } from '@hearth/sdk'
import type { ArtifactStore } from '../../src/domain/artifact.ts'
import type { Builder } from '../../src/domain/build.ts'
import type { AuditEntry } from '../../src/domain/project.ts'
import { call, invoke, upload, zipOf, type Reply } from '../support/functions.ts'
import { startScripted, type ApiInProcess } from '../support/in-process.ts'
import { attemptResult, echo, scriptedAgent, type ScriptedAgent } from '../support/scripted-agent.ts'

/* Every route that changes something is called once, and leaves in the audit log what the contract table says. */

type ChangingId = {
  [Id in keyof Routes]: Routes[Id] extends { method: 'GET' | 'HEAD' } ? never : Id
}[keyof Routes]

let api: ApiInProcess<ScriptedAgent>
let code: string
/** Of the key that the calls carry. */
let actor: string

/** Builds nothing: the bundle says of which source it is. */
const builder = (artifacts: ArtifactStore): Builder => ({
  async build({ source, arch }) {
    const artifact = await artifacts.put(Readable.from([`bundle of ${source}`]))
    const provenance = { source, toolchain: 'scripted', lock: null, output: artifact.digest, program: null, arch }
    return { artifact, provenance }
  },
})

before(async () => {
  api = await startScripted(scriptedAgent(), { builder })
  code = await upload(api, await zipOf({ 'index.js': '//' }))
  actor = (await call(api, 'GET', '/v1/keys')).json<{ items: { id: string }[] }>().items[0]?.id ?? ''
})
after(async () => api.close())

const send = async (method: string, path: string, body?: unknown): Promise<Reply> =>
  call(api, method, `/v1/${path}`, body, Buffer.isBuffer(body) ? { 'content-type': 'application/zip' } : {})
const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex')
const bytes = Buffer.from('an artifact')
const functionF = { name: 'f', runtime: 'node', handler: 'index.handler' }

/** Runs until it is cancelled: the id of an invocation under way. */
async function held(): Promise<string> {
  const { promise, resolve } = Promise.withResolvers<string>()
  api.agent.script = ({ invocationId }, receive) => {
    receive({ type: 'started', instance: 'i-1', start: 'warm', coldCause: null })
    resolve(invocationId)
    return { onCancel: () => receive({ type: 'result', result: attemptResult({ outcome: 'cancelled' }) }) }
  }
  const over = invoke(api, 'f').then(({ body }) => {
    throw new Error(body.toString())
  })
  // Cancelled it is over too, when nobody listens any more.
  over.catch(() => {})
  const id = await Promise.race([promise, over])
  api.agent.script = echo
  return id
}

/* In the order that lets each find what it needs. */
const calls: Readonly<Record<ChangingId, () => Promise<Reply>>> = {
  putArtifact: async () => send('PUT', `artifacts/${sha256(bytes)}`, bytes),
  publishLayer: async () => send('POST', 'layers/l/versions', { code: { artifact: code } }),
  deleteLayerVersion: async () => send('DELETE', 'layers/l/versions/1'),
  createFunction: async () => send('POST', 'functions', { ...functionF, code: { artifact: code } }),
  updateFunction: async () => send('PATCH', 'functions/f', { memoryMib: 512 }),
  putFunctionCode: async () => send('PUT', 'functions/f/code', await zipOf({ 'index.js': '// other' })),
  rollbackFunction: async () => send('POST', 'functions/f/rollback', { to: 1 }),
  deleteVersion: async () => send('DELETE', 'functions/f/versions/3'),
  setAlias: async () => send('PUT', 'functions/f/aliases/live', { version: 1 }),
  deleteAlias: async () => send('DELETE', 'functions/f/aliases/live'),
  invoke: async () => invoke(api, 'f'),
  cancelInvocation: async () => send('POST', `invocations/${await held()}/cancel`),
  putFunctionUrl: async () => send('PUT', 'functions/f/url', { auth: 'none' }),
  deleteFunctionUrl: async () => send('DELETE', 'functions/f/url'),
  deleteFunction: async () => send('DELETE', 'functions/f'),
  buildBundle: async () => send('POST', 'builds', { artifact: code, runtime: 'go' }),
  putObject: async () => send('PUT', 'storage/bucket/key', Buffer.from('an object')),
  deleteObject: async () => send('DELETE', 'storage/bucket/key'),
  setSecret: async () => send('PUT', 'secrets/s', { value: 'v' }),
  deleteSecret: async () => send('DELETE', 'secrets/s'),
  createKey: async () => send('POST', 'keys', { name: 'made', scopes: ['invoke:f'] }),
  revokeKey: async () => {
    const { items } = (await send('GET', 'keys')).json<{ items: { id: string; name: string }[] }>()
    return send('DELETE', `keys/${items.find(({ name }) => name === 'made')?.id}`)
  },
  createProject: async () => send('POST', 'projects', { name: 'default2' }),
  updateProject: async () => send('PATCH', 'projects/default2', { quotas: { functionsMax: 1 } }),
}

/** Of every project, oldest first, from `after` on. */
async function entriesAfter(seq: number): Promise<AuditEntry[]> {
  const projects = (await api.store.projects.list()).map(({ name }) => name)
  const all = await Promise.all(
    projects.map(async (name) => (await api.store.audit.list(name, { limit: 1_000 })).items),
  )
  return all
    .flat()
    .filter((entry) => entry.seq > seq)
    .toSorted((a, b) => a.seq - b.seq)
}

for (const [id, run] of Object.entries(calls))
  test(`${id}: what it changes is in the audit log as the contract table says`, async () => {
    const row = Object.entries<Route>(routes).find(([name]) => name === id)?.[1]
    assert.ok(row !== undefined && 'audit' in row)
    const last = (await entriesAfter(0)).at(-1)?.seq ?? 0
    const startedAt = Date.now()
    const { status, body } = await run()
    assert.ok(status < 300, `${status} ${body.toString()}`)
    const entries = await entriesAfter(last)
    assert.deepEqual(
      entries.map(({ action }) => action),
      'none' in row.audit ? [] : row.audit,
    )
    for (const entry of entries) {
      assert.equal(entry.actor, actor)
      assert.ok(entry.time >= startedAt && entry.time <= Date.now())
      assert.notEqual(entry.target, '')
    }
  })

test('the table of calls has every route that changes something', () => {
  const changing = Object.entries<Route>(routes).flatMap(([id, { method }]) =>
    method === 'GET' || method === 'HEAD' ? [] : [id],
  )
  assert.deepEqual(Object.keys(calls).toSorted(), changing.toSorted())
})

test('audit: an upload tells digest, bytes and kind, once; what is there already, refused or over changes nothing', async () => {
  const fresh = Buffer.from('never seen before')
  const last = (await entriesAfter(0)).at(-1)?.seq ?? 0
  for (let n = 0; n < 2; n++) assert.equal((await send('PUT', `artifacts/${sha256(fresh)}`, fresh)).status, 201)
  assert.equal((await send('PUT', `artifacts/${'0'.repeat(64)}`, Buffer.from('other bytes'))).status, 400)
  await send('POST', 'functions', { ...functionF, code: { artifact: code } })
  const id = (await invoke(api, 'f')).headers.get('hearth-invocation-id')
  assert.deepEqual((await send('POST', `invocations/${id}/cancel`)).json(), { cancelled: false })
  const [put, created, ...others] = await entriesAfter(last)
  assert.deepEqual([put?.action, put?.target], ['artifact.put', `sha256:${sha256(fresh)}`])
  assert.deepEqual(put?.detail, { bytes: fresh.length, kind: 'code' })
  assert.deepEqual([created?.action, others], ['function.create', []])
})

test('audit: bytes that another project has put already are in the log of each that puts them', async () => {
  const bytes = Buffer.from('of two projects')
  await send('POST', 'projects', { name: 'twin' })
  const made = await call(api, 'POST', '/v1/keys', { name: 'twin', scopes: ['admin'], project: 'twin' })
  const twin = { url: api.url, apiKey: made.json<{ token: string }>().token }
  const put = {
    action: 'artifact.put',
    target: `sha256:${sha256(bytes)}`,
    detail: { bytes: bytes.length, kind: 'code' },
  }
  const path = `/v1/artifacts/${sha256(bytes)}`
  assert.equal((await send('PUT', path.slice('/v1/'.length), bytes)).status, 201)
  for (let n = 0; n < 2; n++)
    assert.equal((await call(twin, 'PUT', path, bytes, { 'content-type': 'application/zip' })).status, 201)
  const { items } = (await call(twin, 'GET', '/v1/audit')).json<{ items: (typeof put)[] }>()
  const puts = items.filter(({ action }) => action === 'artifact.put')
  assert.deepEqual(
    puts.map(({ action, target, detail }) => ({ action, target, detail })),
    [put],
  )
})

test('audit: of an invocation that is cancelled it is known which function it was of', async () => {
  const id = await held()
  assert.deepEqual((await send('POST', `invocations/${id}/cancel`)).json(), { cancelled: true })
  const { action, target, detail } = (await entriesAfter(0)).at(-1) ?? {}
  assert.deepEqual([action, target, detail], ['invocation.cancel', id, { function: 'f' }])
})
