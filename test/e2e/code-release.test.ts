import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { existsSync, readdirSync } from 'node:fs'
import { mkdtemp, rm, utimes } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { test, type TestContext } from 'node:test'
import { Layout } from '../../src/artifact/layout.ts'
import type { Digest } from '../../src/domain/artifact.ts'
import { call, invoke, upload, zipOf } from '../support/functions.ts'
import { startPlatform, type Platform } from '../support/platform.ts'
import { until } from '../support/until.ts'

/* When code leaves the disk of a real platform, with all that was made of it. It comes from objects: what is uploaded stays an hour. */

/** So much source that bytecode of it is kept. */
const code = `exports.handler = async (event) => require('./words.js').length + event.more\n`
const words = `module.exports = [${'"a word that is long enough", '.repeat(4_000)}]\n`

async function ok(platform: Platform, method: string, at: string, body?: unknown): Promise<Record<string, unknown>> {
  const reply = await call(platform, method, at, body)
  assert.ok(reply.status < 300, `${method} ${at}: ${reply.status} ${reply.body.toString()}`)
  return reply.body.length === 0 ? {} : reply.json()
}

const create = (platform: Platform, name: string) =>
  ok(platform, 'POST', '/v1/functions', {
    ...{ name, runtime: 'node', handler: 'index.handler' },
    code: { s3: 's3://code/f.zip' },
  })
const remove = (platform: Platform, name: string) => ok(platform, 'DELETE', `/v1/functions/${name}`)

async function works(platform: Platform, name: string): Promise<void> {
  const reply = await invoke(platform, name, { more: 1 })
  assert.equal(reply.body.toString(), '4001')
}

const digestOf = (bytes: Buffer): Digest => `sha256:${createHash('sha256').update(bytes).digest('hex')}`

/** What there is of the bytes: their blob, their tree, bytecode of anything. */
function left(data: string, digest: Digest): string[] {
  const layout = new Layout(data)
  return [
    ...(existsSync(layout.blob(digest)) ? ['blob'] : []),
    ...(existsSync(layout.tree(digest)) ? ['tree'] : []),
    ...(readdirSync(layout.derived).length > 0 ? ['derived'] : []),
  ]
}

async function gone(data: string, digest: Digest): Promise<void> {
  const check = (): true | string => left(data, digest).length === 0 || `there is ${left(data, digest).join(', ')}`
  await until(check, { what: 'the bytes to leave the disk' })
}

async function folderOf(t: TestContext): Promise<string> {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'hearth-release-'))
  t.after(async () => rm(folder, { recursive: true, force: true }))
  return path.join(folder, 'data')
}

test('code leaves the disk with the last function that names it, and at the next start what nothing names', async (t) => {
  const data = await folderOf(t)
  const first = await startPlatform({ data, keepData: true })
  const zip = await zipOf({ 'index.js': code, 'words.js': words })
  const put = () => ok(first, 'PUT', '/v1/storage/code/f.zip', zip)
  const digest = digestOf(zip)
  const nameless = Buffer.from('for no deploy')
  try {
    assert.equal((await put())['digest'], digest)
    await create(first, 'one')
    await create(first, 'two')
    await ok(first, 'DELETE', '/v1/storage/code/f.zip')
    await works(first, 'one')
    await works(first, 'two')
    await remove(first, 'one')
    assert.deepEqual(left(data, digest), ['blob', 'tree', 'derived'])
    await works(first, 'two')
    await remove(first, 'two')
    await gone(data, digest)

    await put()
    await create(first, 'one')
    await works(first, 'one')
    await ok(first, 'DELETE', '/v1/storage/code/f.zip')
    await upload(first, nameless)
  } finally {
    await first.stop()
  }
  const layout = new Layout(data)
  for (const each of [digest, digestOf(nameless)]) await utimes(layout.blob(each), 1_000, 1_000)
  const second = await startPlatform({ data, keepData: true })
  try {
    const check = (): true | string => !existsSync(layout.blob(digestOf(nameless))) || 'it is there'
    await until(check, { what: 'the nameless bytes to leave the disk' })
    await works(second, 'one')
    assert.deepEqual(left(data, digest), ['blob', 'tree', 'derived'])
    await remove(second, 'one')
    await gone(data, digest)
  } finally {
    await second.stop()
  }
})
