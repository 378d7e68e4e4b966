import assert from 'node:assert/strict'
import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { after, test } from 'node:test'
import { call, deployFiles, invoke, nodeFunction } from '../support/functions.ts'
import { runCli, startPlatform } from '../support/platform.ts'
import { until } from '../support/until.ts'

/* hearth up: what it refuses, what it leaves in files, how it ends. */

const folder = mkdtempSync(path.join(os.tmpdir(), 'hearth-up-'))
after(() => rmSync(folder, { recursive: true, force: true }))
const program = path.resolve(import.meta.dirname, '../../bin/hearth')
const fresh = (name: string): string => path.join(folder, name, 'data')

test('ready file and server.json: url, key file, the pid of the platform itself, version; both go with a clean end', async () => {
  const data = fresh('ready')
  const ready = path.join(folder, 'ready.json')
  const child = spawn(program, ['up', '--port', '0', '--data', data, '--ready-file', ready], {
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  let output = ''
  child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()))
  while (!existsSync(ready)) {
    assert.equal(child.exitCode, null, output)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  const facts = JSON.parse(readFileSync(ready, 'utf8')) as Record<string, unknown>
  assert.deepEqual(Object.keys(facts), ['url', 'urlsUrl', 'apiKeyFile', 'pid', 'version'])
  assert.match(String(facts['url']), /^http:\/\/127\.0\.0\.1:\d+$/)
  assert.equal(facts['apiKeyFile'], path.join(data, 'admin.key'))
  assert.match(readFileSync(`/proc/${String(facts['pid'])}/cmdline`, 'utf8'), /serve\.ts/)
  assert.deepEqual(JSON.parse(readFileSync(path.join(data, 'server.json'), 'utf8')), facts)
  assert.equal((await fetch(`${String(facts['url'])}/readyz`)).status, 200)
  assert.match(output, /hth_[a-z0-9]{12}_/)
  child.kill('SIGTERM')
  assert.deepEqual(await once(child, 'close'), [0, null])
  assert.equal(existsSync(path.join(data, 'server.json')), false)
  assert.equal(existsSync(path.join(data, 'platform.lock')), false)
})

test('restart: functions answer again, the key stays and is not shown again', async () => {
  const data = fresh('restart')
  const first = await startPlatform({ data, keepData: true })
  await deployFiles(first, nodeFunction('kept', 'exports.handler = async () => 42\n'))
  assert.equal(await first.stop(), 0)
  const second = await startPlatform({ data })
  try {
    assert.equal(second.apiKey, first.apiKey)
    assert.equal((await invoke(second, 'kept')).json<number>(), 42)
    assert.equal(second.output().includes(first.apiKey), false)
  } finally {
    await second.stop()
  }
})

test('SIGTERM: what runs ends with its answer, then exit code 0', async () => {
  const platform = await startPlatform({ data: fresh('drain') })
  const source = 'exports.handler = async () => { await new Promise((r) => setTimeout(r, 1500)); return "finished" }\n'
  await deployFiles(platform, nodeFunction('slow', source))
  const running = invoke(platform, 'slow')
  await new Promise((resolve) => setTimeout(resolve, 500))
  const stopped = platform.stop()
  assert.equal((await running).json<string>(), 'finished')
  assert.equal(await stopped, 0)
})

test('one data folder, one platform: the second is refused with the pid of the first', async () => {
  const data = fresh('lock')
  const platform = await startPlatform({ data })
  try {
    const second = await runCli(['up', '--port', '0', '--data', data])
    assert.equal(second.code, 5, second.stderr)
    assert.match(second.stderr, /the platform of process \d+ is using it/)
    assert.equal((await fetch(`${platform.url}/readyz`)).status, 200)
  } finally {
    await platform.stop()
  }
})

test('an address that others reach is refused without TLS, and served with it', async () => {
  const refused = await runCli(['up', '--host', '0.0.0.0', '--port', '0', '--data', fresh('open')])
  assert.equal(refused.code, 2)
  assert.match(refused.stderr, /--tls-cert and --tls-key.*--insecure-listen/)
  const [cert, key] = [path.join(folder, 'cert.pem'), path.join(folder, 'key.pem')]
  execFileSync(
    'openssl',
    [
      'req',
      '-x509',
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:prime256v1',
      '-nodes',
      '-days',
      '2',
      '-subj',
      '/CN=localhost',
      '-addext',
      'subjectAltName=IP:127.0.0.1',
      '-keyout',
      key,
      '-out',
      cert,
    ],
    { stdio: 'ignore' },
  )
  const platform = await startPlatform({
    data: fresh('tls'),
    flags: ['--host', '0.0.0.0', '--tls-cert', cert, '--tls-key', key],
  })
  try {
    assert.match(platform.url, /^https:\/\/127\.0\.0\.1:\d+$/)
    const listed = await runCli(['function', 'list', '--json'], {
      env: { HEARTH_URL: platform.url, HEARTH_API_KEY: platform.apiKey, NODE_EXTRA_CA_CERTS: cert },
    })
    assert.equal(listed.code, 0, listed.stderr)
    assert.doesNotMatch(readFileSync(`/proc/${platform.pid}/cmdline`, 'utf8'), /PRIVATE KEY/)
  } finally {
    assert.equal(await platform.stop(), 0)
  }
})

const refusals: readonly [string, readonly string[], Record<string, string>, RegExp][] = [
  ['port out of range', ['--port', '70000'], {}, /Invalid --port "70000"/],
  [
    'unknown environment',
    [],
    { HEARTH_PROT: '1' },
    /Unknown environment variable HEARTH_PROT: did you mean HEARTH_PORT\?/,
  ],
  ['driver of a later release', ['--driver', 'firecracker'], {}, /Cannot use driver "firecracker"/],
  ['unknown flag', ['--prot', '1'], {}, /unknown option '--prot'[^]*--port/],
]
for (const [title, flags, env, message] of refusals)
  test(`up: ${title} is refused with exit code 2 and a sentence`, async () => {
    const { code, stderr } = await runCli(['up', '--port', '0', '--data', fresh('refused'), ...flags], { env })
    assert.equal(code, 2, stderr)
    assert.match(stderr, message)
  })

test('up: a port in use and a folder that holds other things are named', async () => {
  const other = path.join(folder, 'other')
  mkdirSync(other)
  writeFileSync(path.join(other, 'thesis.txt'), 'mine')
  const before = statSync(other).uid
  const refused = await runCli(['up', '--port', '0', '--data', other])
  assert.equal(refused.code, 2)
  assert.match(refused.stderr, /holds other things \(thesis\.txt\)/)
  assert.equal(statSync(other).uid, before)
  const file = path.join(other, 'thesis.txt')
  const below = await runCli(['up', '--port', '0', '--data', path.join(file, 'data')])
  assert.equal(below.code, 2)
  assert.ok(below.stderr.includes(`${file} is no folder. Name another one with --data.`), below.stderr)
  const unready = ['up', '--port', '0', '--data', fresh('unready'), '--ready-file', path.join(folder, 'none', 'ready')]
  const json = await runCli([...unready, '--json'])
  assert.equal(json.code, 2, json.stderr)
  const { error } = JSON.parse(json.stderr) as { error: { message: string } }
  assert.match(error.message, /^Cannot write --ready-file ".*\/none\/ready": its folder is not there; make it first\.$/)
  assert.equal(existsSync(fresh('unready')), false)
  const platform = await startPlatform({ data: fresh('port') })
  try {
    const taken = await runCli(['up', '--port', new URL(platform.url).port, '--data', fresh('port-2')])
    assert.equal(taken.code, 5, taken.stderr)
    assert.match(taken.stderr, /the port is in use/)
  } finally {
    await platform.stop()
  }
})

test('up: a damaged database is reported, not replaced', async () => {
  const data = fresh('damaged')
  const platform = await startPlatform({ data, keepData: true })
  await platform.stop()
  const file = path.join(data, 'hearth.db')
  const bytes = readFileSync(file)
  bytes.fill(0x5a, 0, 4096)
  writeFileSync(file, bytes)
  rmSync(`${file}-wal`, { force: true })
  const refused = await runCli(['up', '--port', '0', '--data', data])
  assert.notEqual(refused.code, 0)
  assert.match(refused.stderr, /hearth\.db/)
  assert.deepEqual(readFileSync(file), bytes)
})

test('up: a second Ctrl-C ends it at once, running work or not', async () => {
  const data = fresh('twice')
  const platform = await startPlatform({ data, keepData: true })
  const source = 'exports.handler = () => new Promise(() => setInterval(() => {}, 1000))\n'
  await deployFiles(platform, nodeFunction('stuck', source))
  void call(platform, 'POST', '/v1/functions/stuck/invoke', {}).catch(() => {})
  await new Promise((resolve) => setTimeout(resolve, 300))
  process.kill(platform.pid, 'SIGINT')
  await new Promise((resolve) => setTimeout(resolve, 800))
  const startedAt = performance.now()
  process.kill(platform.pid, 'SIGINT')
  await platform.stop()
  // Drained, it goes on for the function's 30 s.
  assert.ok(performance.now() - startedAt < 15_000)
})

test('doctor: interrupted, it leaves no folder and no process', { skip: process.getuid?.() !== 0 }, async (t) => {
  const scratch = mkdtempSync(path.join(os.tmpdir(), 'hearth-interrupt-'))
  t.after(() => rmSync(scratch, { recursive: true }))
  const doctor = spawn(program, ['doctor'], {
    env: { ...process.env, TMPDIR: scratch },
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  let said = ''
  doctor.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()))
  const isProbing = (): true | string =>
    readdirSync(scratch).some((name) => existsSync(path.join(scratch, name, 'instances'))) || 'no folder yet'
  await until(isProbing, { what: 'the launcher of doctor' })
  doctor.kill('SIGINT')
  const [code] = await once(doctor, 'exit')
  assert.equal(code, 9)
  assert.match(said, /The machine was not looked at: interrupted\./)
  assert.deepEqual(
    readdirSync(scratch).filter((name) => name.startsWith('hearth-doctor-')),
    [],
  )
  const left = spawnSync('pgrep', ['-f', `--state ${scratch}/`], { encoding: 'utf8' }).stdout
  assert.equal(left, '')
})

test('doctor: JSON with every feature and whether it is enforced', async () => {
  const { stdout, code } = await runCli(['doctor', '--json'])
  assert.equal(code, 0, stdout)
  const { drivers, runtimes } = JSON.parse(stdout) as {
    drivers: { name: string; works: boolean; enforced: { feature: string }[] }[]
    runtimes: unknown[]
  }
  const driver = drivers.find(({ name }) => name === 'process')
  assert.ok(driver?.works)
  assert.ok(driver.enforced.some(({ feature }) => feature === 'seccomp'))
  assert.ok(runtimes.length > 0)
})

test('bin/hearth: without a Node that can run it, it says what to do', async () => {
  const child = spawn(program, ['--version'], {
    env: { HEARTH_NODE: '/bin/true', PATH: process.env['PATH'] },
  })
  let text = ''
  child.stderr.on('data', (chunk: Buffer) => (text += chunk.toString()))
  const code = await new Promise((resolve) => child.on('close', resolve))
  assert.equal(code, 2)
  assert.match(text, /not a Node of version 24\.15 or newer/)
})
