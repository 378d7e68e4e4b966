import assert from 'node:assert/strict'
import { existsSync, readdirSync } from 'node:fs'
import { mkdtemp, rm, utimes } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { test, type TestContext } from 'node:test'
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

const blobOf = (data: string, hex: string): string => path.join(data, 'blobs/sha256', hex.slice(0, 2), hex)

/** What there is of the bytes: their blob, their tree, bytecode of anything. */
function left(data: string, hex: string): string[] {
  return [
    ...(existsSync(blobOf(data, hex)) ? ['blob'] : []),
    ...(existsSync(path.join(data, 'trees', hex)) ? ['tree'] : []),
    ...(readdirSync(path.join(data, 'derived')).length > 0 ? ['derived'] : []),
  ]
}

async function gone(data: string, hex: string): Promise<void> {
  const check = (): true | string => left(data, hex).length === 0 || `there is ${left(data, hex).join(', ')}`
  await until(check, { timeoutMs: 15_000, what: 'the bytes to leave the disk' })
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
  const put = async (): Promise<string> => String((await ok(first, 'PUT', '/v1/storage/code/f.zip', zip))['digest'])
  let nameless = ''
  let hex = ''
  try {
    hex = (await put()).slice('sha256:'.length)
    await create(first, 'one')
    await create(first, 'two')
    await ok(first, 'DELETE', '/v1/storage/code/f.zip')
    await works(first, 'one')
    await works(first, 'two')
    await remove(first, 'one')
    assert.deepEqual(left(data, hex), ['blob', 'tree', 'derived'])
    await works(first, 'two')
    await remove(first, 'two')
    await gone(data, hex)

    await put()
    await create(first, 'one')
    await works(first, 'one')
    await ok(first, 'DELETE', '/v1/storage/code/f.zip')
    nameless = (await upload(first, Buffer.from('for no deploy'))).slice('sha256:'.length)
  } finally {
    await first.stop()
  }
  for (const each of [hex, nameless]) await utimes(blobOf(data, each), 1_000, 1_000)
  const second = await startPlatform({ data, keepData: true })
  try {
    const check = (): true | string => !existsSync(blobOf(data, nameless)) || 'it is there'
    await until(check, { timeoutMs: 15_000, what: 'the nameless bytes to leave the disk' })
    await works(second, 'one')
    assert.deepEqual(left(data, hex), ['blob', 'tree', 'derived'])
    await remove(second, 'one')
    await gone(data, hex)
  } finally {
    await second.stop()
  }
})
