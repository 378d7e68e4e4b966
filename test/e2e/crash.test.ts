import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { test } from 'node:test'
import { call, deployFiles, invoke } from '../support/functions.ts'
import { killAtPoints, leftovers } from '../support/crash-points.ts'
import { startPlatform, type Platform } from '../support/platform.ts'

/* kill -9 of the platform at seeded points of deploy and invoke: nothing acknowledged is lost, nothing leaks. */

async function killAndRestart(platform: Platform): Promise<Platform> {
  await platform.kill9()
  return startPlatform({ data: platform.data, keepData: true })
}

test('kill -9 at ten seeded points: what was acknowledged is there, what is left is nothing', async (t) => {
  const seed = Number(process.env['HEARTH_TEST_SEED'] ?? 20_261_121)
  t.diagnostic(`seed ${seed}`)
  const folder = await mkdtemp(path.join(os.tmpdir(), 'hearth-crash-'))
  const data = path.join(folder, 'data')
  const survivor = await killAtPoints(data, 10, seed)
  // The check below would find nothing if it looked in the wrong place.
  assert.ok(
    leftovers(data).some((found) => found.startsWith('cgroup')),
    'a running platform has cgroups',
  )
  await survivor.kill9()
  const last = await startPlatform({ data, keepData: true })
  await last.stop()
  assert.deepEqual(leftovers(data), [])
  await rm(folder, { recursive: true, force: true })
})

test('kill -9 of the launcher: all of it ends, and nothing is left after the next start', async () => {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'hearth-crash-'))
  const data = path.join(folder, 'data')
  const env = { TMPDIR: path.join(folder, 'tmp') }
  await mkdir(env.TMPDIR, { mode: 0o777 })
  const platform = await startPlatform({ data, keepData: true, env })
  const files = {
    'index.js': "require('node:child_process').spawn('sleep', ['2468.5'])\nexports.handler = async () => 'up'\n",
  }
  await deployFiles(platform, { name: 'parent', runtime: 'node', handler: 'index.handler', files })
  assert.equal((await invoke(platform, 'parent')).status, 200)
  const launcher = Number(/^PPid:\s+(\d+)/m.exec(readFileSync(`/proc/${platform.pid}/status`, 'utf8'))?.[1])
  assert.match(readFileSync(`/proc/${launcher}/cmdline`, 'utf8'), /hearth-guest/)
  process.kill(launcher, 'SIGKILL')
  await platform.ended()
  const of = (kind: string): string[] => leftovers(data).filter((found) => found.startsWith(kind))
  for (let tries = 0; tries < 100 && of('process').length > 0; tries++) await new Promise((r) => setTimeout(r, 50))
  assert.deepEqual(of('process'), [])
  assert.deepEqual(of('mount'), [])

  const next = await startPlatform({ data, keepData: true, env })
  assert.equal((await invoke(next, 'parent')).status, 200)
  await next.stop()
  assert.deepEqual(leftovers(data), [])
  assert.deepEqual(await readdir(env.TMPDIR), [])
  await rm(folder, { recursive: true, force: true })
})

test('kill -9: versions, aliases, secrets, logs and receipts older than 100 ms are there after the next start', async () => {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'hearth-crash-'))
  let platform = await startPlatform({ data: path.join(folder, 'data'), keepData: true })
  await deployFiles(platform, {
    name: 'kept',
    runtime: 'node',
    handler: 'index.handler',
    files: { 'index.js': "exports.handler = async () => { console.log('a line to keep'); return 1 }\n" },
  })
  assert.ok((await call(platform, 'PUT', '/v1/functions/kept/aliases/live', { version: 1 })).status < 300)
  assert.ok((await call(platform, 'PUT', '/v1/secrets/token', { value: 'never-on-disk-in-clear' })).status < 300)
  const id = (await invoke(platform, 'kept')).headers.get('hearth-invocation-id')
  await new Promise((resolve) => setTimeout(resolve, 1_000))
  platform = await killAndRestart(platform)
  try {
    assert.equal(
      (await call(platform, 'GET', `/v1/invocations/${id}`)).json<{ outcome: string }>().outcome,
      'succeeded',
    )
    assert.match((await call(platform, 'GET', '/v1/functions/kept/logs?tail=50')).body.toString(), /a line to keep/)
    assert.equal(
      (await call(platform, 'GET', '/v1/functions/kept/aliases')).json<{ items: { name: string }[] }>().items[0]?.name,
      'live',
    )
    assert.equal(
      (await call(platform, 'GET', '/v1/secrets')).json<{ items: { name: string }[] }>().items[0]?.name,
      'token',
    )
    const found = execFileSync(
      'sh',
      ['-c', `grep -rl never-on-disk-in-clear ${JSON.stringify(platform.data)} || true`],
      { encoding: 'utf8' },
    )
    assert.equal(found, '')
    const warm = await invoke(platform, 'kept')
    assert.match(warm.headers.get('hearth-start') ?? '', /cause=(restart|first)/)
  } finally {
    await platform.stop()
    await rm(folder, { recursive: true, force: true })
  }
})

test(
  'a deploy is answered only after fdatasync',
  { skip: existsSync('/usr/bin/strace') ? false : 'strace is not installed' },
  async () => {
    const folder = await mkdtemp(path.join(os.tmpdir(), 'hearth-strace-'))
    const trace = path.join(folder, 'trace')
    const platform = await startPlatform({ data: path.join(folder, 'data') })
    const { spawn } = await import('node:child_process')
    const strace = spawn(
      'strace',
      ['-f', '-ttt', '-e', 'trace=fdatasync,fsync', '-p', String(platform.pid), '-o', trace],
      { stdio: ['ignore', 'ignore', 'pipe'] },
    )
    await new Promise((resolve) => strace.stderr.once('data', resolve))
    const startedAt = Date.now() / 1000
    await deployFiles(platform, {
      name: 'synced',
      runtime: 'node',
      handler: 'index.handler',
      files: { 'index.js': 'exports.handler = async () => 1\n' },
    })
    const answeredAt = Date.now() / 1000
    strace.kill('SIGINT')
    await new Promise((resolve) => strace.once('close', resolve))
    const times = readFileSync(trace, 'utf8')
      .split('\n')
      .filter((line) => /f(data)?sync\(/.test(line))
      .map((line) => Number(line.split(/\s+/)[1]))
    await platform.stop()
    await rm(folder, { recursive: true, force: true })
    assert.ok(
      times.some((time) => time >= startedAt && time <= answeredAt),
      `no fdatasync between ${startedAt} and ${answeredAt}: ${times.join(' ')}`,
    )
  },
)
