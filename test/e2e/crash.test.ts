import assert from 'node:assert/strict'
import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { test } from 'node:test'
import { call, deployFiles, invoke, nodeFunction } from '../support/functions.ts'
import { killAtPoints } from '../support/crash-points.ts'
import { leftovers } from '../support/leftovers.ts'
import { seededTest } from '../support/seeded.ts'
import { startPlatform, type Platform } from '../support/platform.ts'

/* kill -9 of the platform at seeded points of deploy and invoke: nothing acknowledged is lost, nothing leaks. */

async function killAndRestart(platform: Platform): Promise<Platform> {
  await platform.kill9()
  return startPlatform({ data: platform.data, keepData: true })
}

seededTest(
  'kill -9 at ten seeded points: what was acknowledged is there, what is left is nothing',
  async (random, t) => {
    const folder = await mkdtemp(path.join(os.tmpdir(), 'hearth-crash-'))
    const data = path.join(folder, 'data')
    const { platform, hits } = await killAtPoints(data, { points: 10, random })
    t.diagnostic(`hits ${JSON.stringify(hits)}`)
    // The checks for what is left would find nothing if they looked in the wrong place.
    const running = leftovers(data)
    await platform.stop()
    for (const kind of process.getuid?.() === 0 ? ['process', 'cgroup'] : ['process'])
      assert.match(running.join('\n'), new RegExp(`^${kind} `, 'm'))
    assert.deepEqual(leftovers(data), [])
    await rm(folder, { recursive: true, force: true })
  },
)

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
  await deployFiles(
    platform,
    nodeFunction('kept', "exports.handler = async () => { console.log('a line to keep'); return 1 }\n"),
  )
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

const straceMissing = spawnSync('strace', ['-V']).status === 0 ? false : 'strace is not installed'

test('a deploy is answered only after the database journal was synced to disk', { skip: straceMissing }, async () => {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'hearth-strace-'))
  const trace = path.join(folder, 'trace')
  const platform = await startPlatform({ data: path.join(folder, 'data') })
  const deployment = {
    runtime: 'node',
    handler: 'index.handler',
    files: { 'index.js': 'exports.handler = async () => 1\n' },
  }
  try {
    // Upload, unpacking and bytecode sync files of their own: the second function finds them done, so that only its row is left to write.
    await deployFiles(platform, { name: 'first', ...deployment })
    const calls = 'trace=fdatasync,fsync,read,readv,recvfrom,write,writev,pwrite64,sendto'
    const strace = spawn('strace', ['-f', '-y', '-s', '64', '-e', calls, '-p', String(platform.pid), '-o', trace], {
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    await once(strace.stderr, 'data')
    await deployFiles(platform, { name: 'synced', ...deployment })
    strace.kill('SIGINT')
    await once(strace, 'close')
    const lines = (await readFile(trace, 'utf8')).split('\n')
    const accepted = lines.findIndex((line) => line.includes('POST /v1/functions '))
    const replied = lines.findIndex((line, n) => n > accepted && line.includes('HTTP/1.1 201'))
    assert.ok(
      accepted >= 0 && replied > accepted,
      `request at line ${accepted}, reply at ${replied} of ${lines.length}`,
    )
    const between = lines.slice(accepted, replied)
    const written = between.findLastIndex((line) => /pwrite64\(\d+<[^>]*hearth\.db-wal>/.test(line))
    // Node's own SQLite calls fsync; one built with HAVE_FDATASYNC would call fdatasync, which is as good here.
    const done = /f(?:data)?sync(?: resumed>|\(\d+<[^>]*hearth\.db-wal>).*\) += 0$/
    const synced = between.findIndex((line, n) => n > written && done.test(line))
    assert.ok(written >= 0, `the journal was not written between request and reply:\n${between.join('\n')}`)
    assert.ok(synced > written, `no fsync between the journal's last write and the reply:\n${between.join('\n')}`)
  } finally {
    await platform.stop()
    await rm(folder, { recursive: true, force: true })
  }
})
