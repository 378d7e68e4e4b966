import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { after, before, beforeEach, test } from 'node:test'
import { startScripted, type ApiInProcess } from '../../test/support/in-process.ts'
import type { Digest } from '../domain/artifact.ts'
import type { Origins, S3Credentials } from '../domain/code-source.ts'
import type { Caller } from '../domain/control.ts'
import { AppError } from '../domain/error.ts'
import type { ObjectServer } from '../domain/object-server.ts'
import type { ObjectFacts } from '../domain/storage.ts'

/* Who may ask the operator's S3 server, in whose name, and what is kept of it; the server itself is played. */

const admin: Caller = { actor: 'tester', project: 'default', scopes: ['admin'] }
const operator = { endpoint: 'https://s3.example', region: 'x-1', secret: null, mustHaveSecret: false } as const
const digest: Digest = `sha256:${'d'.repeat(64)}`
const at = { bucket: 'bucket', key: 'a/key' }
const ref = { ...at, versionId: null }
const facts: ObjectFacts = { ...at, versionId: null, digest: null, bytes: 3, etag: 'e', createdAt: 5 }

const folder = mkdtempSync(path.join(os.tmpdir(), 'hearth-server-storage-'))
let api: ApiInProcess
let settings: Origins['s3']
let asked: { what: string; credentials: S3Credentials | null; input?: unknown }[]
let failure: Error | null

const origins: Origins = {
  get s3() {
    return settings
  },
  open: async () => assert.fail('nothing is fetched here'),
}

const note = (what: string, credentials: S3Credentials | null, input?: unknown): void => {
  asked.push({ what, credentials, input })
  if (failure !== null) throw failure
}
const objects: ObjectServer = {
  async put(credentials, where, { content, bytes }) {
    note('put', credentials, { where, bytes, body: await text(content) })
    return { ...facts, digest, versionId: 'v1' }
  },
  async stat(credentials) {
    note('stat', credentials)
    return facts
  },
  async open(credentials) {
    note('open', credentials)
    return { object: facts, content: Readable.from(['abc']) }
  },
  async list(credentials, _of, page) {
    note('list', credentials, page)
    return { items: [facts], nextCursor: 'token' }
  },
  async versions(credentials) {
    note('versions', credentials)
    return [facts]
  },
  async buckets(credentials) {
    note('buckets', credentials)
    return [{ name: 'bucket', createdAt: 5 }]
  },
  async delete(credentials) {
    note('delete', credentials)
  },
}

before(async () => {
  api = await startScripted(undefined, { folder, origins, objects })
  await api.control.secrets.set(admin, 's3', 'AKIA:secret')
})
after(async () => {
  await api.close()
  rmSync(folder, { recursive: true, force: true })
})
beforeEach(() => {
  settings = operator
  asked = []
  failure = null
})

const upload = (content: string, bytesExpected: number | null) => ({ source: Readable.from([content]), bytesExpected })
const newest = async () => (await api.control.audit(admin, { limit: 1 })).items[0]

async function everything(caller: Caller): Promise<void> {
  const { storage } = api.control
  await storage.put(caller, at, upload('abc', 3))
  await storage.stat(caller, ref)
  await storage.open(caller, ref)
  await storage.list(caller, { bucket: 'bucket', prefix: '' }, { limit: 1 })
  await storage.versions(caller, at)
  await storage.buckets(caller)
  await storage.delete(caller, ref)
}

test('storage with an S3 server: asked in the name that the setting says, for each call', async () => {
  await everything(admin)
  assert.deepEqual(
    asked.map(({ what, credentials }) => [what, credentials]),
    ['put', 'stat', 'open', 'list', 'versions', 'buckets', 'delete'].map((what) => [what, null]),
  )
  asked = []
  settings = { ...operator, secret: 's3', mustHaveSecret: true }
  await everything(admin)
  assert.equal(asked.length, 7)
  for (const { credentials } of asked) assert.deepEqual(credentials, { accessKeyId: 'AKIA', secretAccessKey: 'secret' })
})

test("storage with an S3 server: the platform's own credentials are not for tenants, nor is another project's secret", async () => {
  settings = { ...operator, mustHaveSecret: true }
  await assert.rejects(everything(admin), { code: 'invalid', field: 's3Secret', message: /https:\/\/s3\.example/ })
  settings = { ...operator, secret: 's3' }
  await api.control.projects.create(admin, 'other')
  const other: Caller = { ...admin, project: 'other' }
  await assert.rejects(everything(other), { code: 'invalid', field: 's3Secret', message: /"s3": must be the name/ })
  assert.deepEqual(asked, [])
})

test('storage with an S3 server: scopes and names are looked at first', async () => {
  const { storage } = api.control
  const reader: Caller = { ...admin, scopes: ['storage:read'] }
  settings = { ...operator, secret: 'absent' }
  await assert.rejects(storage.put(reader, at, upload('x', 1)), { code: 'forbidden' })
  await assert.rejects(storage.delete(reader, ref), { code: 'forbidden' })
  await assert.rejects(storage.buckets({ ...admin, scopes: ['storage:write'] }), { code: 'forbidden' })
  settings = operator
  await assert.rejects(storage.put(admin, { ...at, key: '../x' }, upload('x', 1)), { code: 'invalid', field: 'key' })
  await assert.rejects(storage.delete(admin, { ...ref, versionId: 'a b' }), { code: 'invalid', field: 'versionId' })
  await assert.rejects(storage.list(admin, { bucket: 'B', prefix: '' }, { limit: 1 }), { field: 'bucket' })
  const much = upload('x', 5 * 2 ** 30 + 1)
  await assert.rejects(storage.put(admin, at, much), { field: 'body', message: /larger than 5120 MiB/ })
  assert.deepEqual(asked, [])
})

test('storage with an S3 server: puts and deletions are in the audit log, what failed is not', async () => {
  await api.control.storage.put(admin, at, upload('abc', 3))
  const put = await newest()
  assert.deepEqual(
    [put?.actor, put?.action, put?.target, put?.detail],
    [...['tester', 'object.put', 's3://bucket/a/key?versionId=v1'], { digest, bytes: 3, endpoint: operator.endpoint }],
  )
  await api.control.storage.delete(admin, ref)
  const deletion = await newest()
  assert.deepEqual([deletion?.action, deletion?.target], ['object.delete', 's3://bucket/a/key'])
  failure = new AppError('capacity', 'down')
  await assert.rejects(api.control.storage.put(admin, at, upload('abc', 3)), failure)
  await assert.rejects(api.control.storage.delete(admin, ref), failure)
  assert.equal((await newest())?.seq, deletion?.seq)
})

test('storage with an S3 server: an upload of unknown length is sent with its length, and leaves no file', async () => {
  const stored = await api.control.storage.put(admin, at, upload('unknown', null))
  assert.equal(stored.versionId, 'v1')
  assert.deepEqual(asked[0]?.input, { where: at, bytes: 7, body: 'unknown' })
  failure = new AppError('capacity', 'down')
  await assert.rejects(api.control.storage.put(admin, at, upload('unknown too', null)), failure)
  const files = readdirSync(path.join(folder, 'artifacts'), { recursive: true, withFileTypes: true })
  assert.deepEqual(
    files.filter((each) => each.isFile()).map(({ name }) => name),
    [],
  )
})
