import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { after, test } from 'node:test'
import { CliError } from './cli-error.ts'
import { findServer } from './server.ts'

const folder = mkdtempSync(path.join(os.tmpdir(), 'hearth-server-'))
after(() => rmSync(folder, { recursive: true, force: true }))
const nested = path.join(folder, 'project/deep')
mkdirSync(nested, { recursive: true })

function running(data: string, pid = process.pid): void {
  mkdirSync(data, { recursive: true })
  writeFileSync(path.join(data, 'admin.key'), 'hth_local_key\n')
  const facts = { url: 'http://127.0.0.1:4711', apiKeyFile: path.join(data, 'admin.key'), pid }
  writeFileSync(path.join(data, 'server.json'), JSON.stringify(facts))
}
const nothing = { env: {}, cwd: nested, root: path.join(folder, 'nowhere'), url: undefined, apiKey: undefined }

test('findServer: none anywhere says how to start one, with exit code 9', async () => {
  await assert.rejects(
    findServer(nothing),
    (error) => error instanceof CliError && error.exitCode === 9 && /hearth up/.test(error.hint ?? ''),
  )
})

test('findServer: the running platform of the nearest .hearth above the current folder', async () => {
  const data = path.join(folder, 'project/.hearth')
  running(data)
  assert.deepEqual(await findServer(nothing), { url: 'http://127.0.0.1:4711', apiKey: 'hth_local_key', data })
})

test('findServer: environment over folders, flags over environment', async () => {
  const env = { HEARTH_URL: 'http://env:1/', HEARTH_API_KEY: 'env-key' }
  assert.deepEqual(await findServer({ ...nothing, env }), { url: 'http://env:1', apiKey: 'env-key', data: null })
  assert.equal((await findServer({ ...nothing, env, url: 'http://flag:2', apiKey: 'k' })).url, 'http://flag:2')
  await assert.rejects(findServer({ ...nothing, url: 'flag:2', apiKey: 'k' }), {
    message: /Invalid --url "flag:2"/,
  })
})

test('findServer: pasted space around URL and key does not count; what is no URL or no key is named by where it came from', async () => {
  const env = { HEARTH_URL: ' http://env:1/\n', HEARTH_API_KEY: '\u200b hth_env_key\r\n' }
  assert.deepEqual(await findServer({ ...nothing, env }), { url: 'http://env:1', apiKey: 'hth_env_key', data: null })
  await assert.rejects(findServer({ ...nothing, env: { ...env, HEARTH_URL: 'platform' } }), {
    message: /Invalid HEARTH_URL "platform"/,
    exitCode: 2,
  })
  await assert.rejects(findServer({ ...nothing, env: { ...env, HEARTH_API_KEY: 'hth_sec\u200bret' } }), {
    message: 'HEARTH_API_KEY holds no API key: character 8 is U+200B, which no key has.',
    exitCode: 3,
  })
  await assert.rejects(findServer({ ...nothing, env, apiKey: '' }), { message: /--api-key .*empty/, exitCode: 3 })
})

test('findServer: a URL without a key is unauthorized; a local platform lends its key to its own URL alone', async () => {
  assert.equal((await findServer({ ...nothing, url: 'http://127.0.0.1:4711' })).apiKey, 'hth_local_key')
  await assert.rejects(
    findServer({ ...nothing, url: 'http://other:1' }),
    (error) => error instanceof CliError && error.exitCode === 3,
  )
})

test('findServer: a platform that has ended is named', async () => {
  running(path.join(nested, '.hearth'), 4_194_303)
  await assert.rejects(findServer(nothing), { message: /is not running: its process 4194303 has ended/ })
})
