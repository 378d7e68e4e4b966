import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { utimes } from 'node:fs/promises'
import { Readable } from 'node:stream'
import { test, type TestContext } from 'node:test'
import { zipOf } from '../../test/support/functions.ts'
import { startInProcess, type InProcess } from '../../test/support/in-process.ts'
import { until } from '../../test/support/until.ts'
import type { Digest } from '../domain/artifact.ts'
import type { Caller, InvokeReply } from '../domain/control.ts'

/* When code leaves the disk, over a real agent and a real artifact store. Its bytes come from objects: what is uploaded stays an hour. */

const admin: Caller = { actor: 'tester', project: 'default', scopes: ['admin'] }
const other: Caller = { ...admin, project: 'other' }
const at = { bucket: 'code', key: 'f.zip' }
const s3 = 's3://code/f.zip'

interface Bench {
  readonly api: InProcess
  /** Lets the invocations go that wait for it, now and later. */
  readonly open: () => void
}

async function opened(t: TestContext): Promise<Bench> {
  const gate = Promise.withResolvers<void>()
  const handler = async (event: unknown): Promise<unknown> => {
    if (event === 'wait') await gate.promise
    return event
  }
  const api = await startInProcess({ driver: { handler } })
  t.after(async () => {
    gate.resolve()
    await api.close()
  })
  await api.control.projects.create(admin, other.project)
  return { api, open: gate.resolve }
}

async function stored({ api }: Bench, caller: Caller, content = '// f'): Promise<Digest> {
  const bytes = await zipOf({ 'index.js': content })
  const { digest } = await api.control.storage.put(caller, at, { source: Readable.from([bytes]), bytesExpected: null })
  assert.ok(digest)
  return digest
}

async function created({ api }: Bench, caller: Caller, name: string): Promise<void> {
  const config = { runtime: 'node', handler: 'index.handler' }
  await api.control.functions.create(caller, { name, code: { s3 }, config })
}

const unstore = async ({ api }: Bench, caller: Caller): Promise<void> =>
  api.control.storage.delete(caller, { ...at, versionId: null })

async function invoked({ api }: Bench, caller: Caller, functionName: string, event = 'now'): Promise<InvokeReply> {
  const payload = Buffer.from(JSON.stringify(event))
  const rest = { qualifier: null, deadline: null, priority: 3, traceparent: null, wantLogTail: false } as const
  const request = { caller, functionName, contentType: 'application/json', payload, ...rest }
  return new Promise((resolve) => void api.control.invoke(request, resolve))
}

async function gone({ api }: Bench, digest: Digest): Promise<void> {
  const check = async (): Promise<true | string> =>
    (await api.artifacts.list((each) => each === digest)).length === 0 || 'something is there'
  await until(check, { what: `${digest} to leave the disk` })
}

test('functions.delete: code stays for a function of another project, and for the last invocation, and then leaves the disk', async (t) => {
  const bench = await opened(t)
  const { control, artifacts } = bench.api
  const digest = await stored(bench, admin)
  await stored(bench, other)
  await created(bench, admin, 'f')
  await created(bench, other, 'g')
  for (const caller of [admin, other]) await unstore(bench, caller)
  const { folder } = await artifacts.unpack(digest)
  await control.functions.delete(admin, 'f')
  // Releases are made one after the other: these bytes are looked at after those of f.
  const probe = await stored(bench, admin, '// probe')
  await created(bench, admin, 'probe')
  await unstore(bench, admin)
  await control.functions.delete(admin, 'probe')
  await gone(bench, probe)
  assert.ok(existsSync(folder), 'another project names it')
  assert.equal((await invoked(bench, other, 'g')).outcome, 'succeeded')

  const waiting = invoked(bench, other, 'g', 'wait')
  const isBusy = async (): Promise<true | string> =>
    (await bench.api.agent.status()).instances.busy === 1 || 'nothing runs'
  await until(isBusy, { what: 'the invocation to run' })
  const deleting = control.functions.delete(other, 'g')
  const isDeleted = async (): Promise<true | string> =>
    (await bench.api.store.functions.get(other.project, 'g')) === null || 'it is there'
  await until(isDeleted, { what: 'the function to go' })
  await new Promise((resolve) => setImmediate(resolve))
  assert.ok(existsSync(folder) && (await artifacts.stat(digest)) !== null, 'an Instance reads it')
  bench.open()
  await deleting
  assert.equal((await waiting).outcome, 'succeeded')
  await gone(bench, digest)
  assert.ok(!existsSync(folder))

  assert.equal(await stored(bench, admin), digest)
  await created(bench, admin, 'f')
  assert.equal((await invoked(bench, admin, 'f')).outcome, 'succeeded')
})

test('functions.delete: a deploy of the same bytes meanwhile is refused or works, and leaves nothing half there', async (t) => {
  const bench = await opened(t)
  const { control, artifacts } = bench.api
  let deployed = 0
  for (let round = 0; round < 15; round++) {
    const digest = await stored(bench, admin)
    await created(bench, admin, 'first')
    const creating = created(bench, admin, 'second')
    // At another moment each time.
    for (let turns = 0; turns < round * 4; turns++) await new Promise((resolve) => setImmediate(resolve))
    const [second] = await Promise.allSettled([
      creating,
      control.functions.delete(admin, 'first'),
      unstore(bench, admin),
    ])
    if (second.status === 'fulfilled') {
      deployed++
      assert.equal((await invoked(bench, admin, 'second')).outcome, 'succeeded')
      assert.notEqual(await artifacts.stat(digest), null)
      await control.functions.delete(admin, 'second')
    }
    await gone(bench, digest)
  }
  assert.ok(deployed > 0, 'all were refused')
})

test('Control.tidy: removes what nothing names, and what names it stays', async (t) => {
  const bench = await opened(t)
  const digest = await stored(bench, admin)
  await created(bench, admin, 'f')
  await unstore(bench, admin)
  const { artifacts, control, layout } = bench.api
  const { folder } = await artifacts.unpack(digest)
  const { digest: nameless } = await artifacts.put(Readable.from(['nameless']))
  for (const each of [digest, nameless]) await utimes(layout.blob(each), 1_000, 1_000)
  await control.tidy()
  assert.equal(await artifacts.stat(nameless), null)
  assert.ok(existsSync(folder))
  assert.equal((await invoked(bench, admin, 'f')).outcome, 'succeeded')
})
