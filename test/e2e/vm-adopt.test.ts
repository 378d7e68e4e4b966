import assert from 'node:assert/strict'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { DatabaseSync } from 'node:sqlite'
import os from 'node:os'
import path from 'node:path'
import { after, afterEach, before, test } from 'node:test'
import { openVault } from '../../src/control/vault.ts'
import { call, deployFiles, invoke } from '../support/functions.ts'
import { leftovers } from '../support/leftovers.ts'
import { startPlatform, type Platform } from '../support/platform.ts'
import { until } from '../support/until.ts'
import { vmMissing } from '../support/vm-rig.ts'

/* A platform or its launcher is killed while microVMs live: the next one goes on with those that it may, and ends the others. Real guests, emulated. */

const missing = vmMissing()
const skip = missing === null ? false : missing

/** Counts its calls in the process; says with which secret, and what the platform's API calls it, and what the network's resolver says. */
const code = `
let calls = 0
exports.handler = async (event) => {
  if (event.hang) {
    console.log('it hangs')
    await new Promise((resolve) => setTimeout(resolve, 600_000))
  }
  calls++
  if (event.lookUp) {
    const resolver = new (require('dns').promises.Resolver)({ timeout: 10_000, tries: 1 })
    return [calls, await resolver.resolve4('hearth.invalid').catch((error) => error.code)]
  }
  if (!event.whoami) return [calls, process.env.TOKEN ?? null, require('os').hostname()]
  const reply = await fetch(process.env.HEARTH_API_URL + '/v1/functions/keeper')
  return [calls, reply.status]
}`

let scratch = ''
let data = ''
let platform: Platform | null = null

before(async () => {
  scratch = await mkdtemp(path.join(os.tmpdir(), 'hearth-adopt-'))
  data = path.join(scratch, 'data')
})
after(async () => rm(scratch, { recursive: true, force: true }))
/** Each test ends with an orderly stop: nothing of it outlives that. */
afterEach(async () => {
  if (platform === null) return
  assert.equal(await platform.stop(), 0, platform.output())
  platform = null
  assert.deepEqual(leftovers(data), [])
  assert.deepEqual(readdirSync(path.join(data, 'vm')), [])
})

async function up(): Promise<Platform> {
  platform = await startPlatform({ data, keepData: true })
  return platform
}

/** The next platform, when it has taken over the machine. It serves after 3 s without that, and an emulated machine of a busy host may need longer. */
async function upWithTaken(): Promise<Platform> {
  const next = await up()
  const isTaken = (): true | string => {
    const [refused] = events(next, 'instance.adopt.refused')
    assert.equal(refused, undefined, `refused: ${JSON.stringify(refused)}`)
    return events(next, 'instance.adopted').length > 0 || next.output().slice(-500)
  }
  await until(isTaken, { what: 'the machine to be taken over' })
  return next
}

/** With the function `keeper`, and one call of it behind it. */
async function upWithKeeper(config: Record<string, unknown> = {}): Promise<Platform> {
  const started = await up()
  await call(started, 'DELETE', '/v1/functions/keeper')
  const all = { isolation: 'vm', timeoutMs: 120_000, keepAliveMs: 600_000, ...config }
  await deployFiles(started, {
    name: 'keeper',
    runtime: 'node',
    handler: 'index.handler',
    files: { 'index.js': code },
    config: all,
  })
  const reply = await invoke(started, 'keeper', {})
  assert.equal(reply.status, 200, reply.body.toString())
  assert.equal(reply.json<unknown[]>()[0], 1)
  await until(() => handles().length > 0 || 'no handle', { what: 'a handle on disk' })
  return started
}

/** Instances that have a handle. */
function handles(): string[] {
  return readdirSync(path.join(data, 'instances')).filter((name) => {
    try {
      return readdirSync(path.join(data, 'instances', name)).includes('handle.json')
    } catch {
      return false // Gone by now.
    }
  })
}

/** The VMM of an Instance. */
function vmmOf(instance: string): number {
  const { pid }: { pid: number } = JSON.parse(readFileSync(path.join(data, 'vms', `${instance}.json`), 'utf8'))
  return pid
}

function isAlive(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))
  } catch {
    return false
  }
}

function events(of: Platform, event: string): Record<string, unknown>[] {
  const lines = of
    .output()
    .split('\n')
    .filter((line) => line.includes(`"event":"${event}"`))
  return lines.map((line) => JSON.parse(line))
}

/** Why machines were not taken over, when the log says it: it comes over a pipe, and after their end. */
async function refusals(of: Platform): Promise<unknown[]> {
  const lines = (): Record<string, unknown>[] => events(of, 'instance.adopt.refused')
  await until(() => lines().length > 0 || of.output().slice(-500), { what: 'the log to say why' })
  return lines().map(({ why }) => why)
}

for (const whom of ['the platform', 'the launcher', 'both'] as const)
  test(`kill -9 of ${whom}: the next platform goes on with the idle machine, warm`, { skip }, async () => {
    const dead = await upWithKeeper({ permissions: ['functions:read'] })
    const [instance = ''] = handles()
    const pid = vmmOf(instance)
    if (whom === 'both') process.kill(dead.launcherPid, 'SIGKILL')
    if (whom === 'the launcher') await dead.killLauncher9()
    else await dead.kill9()
    assert.ok(isAlive(pid))

    const next = await upWithTaken()
    const reply = await invoke(next, 'keeper', {})
    assert.deepEqual(reply.json<unknown[]>(), [2, null, instance])
    assert.equal(reply.headers.get('hearth-start'), 'warm')
    const receipt = await call(next, 'GET', `/v1/invocations/${reply.headers.get('hearth-invocation-id')}`)
    const { start, attempts } = receipt.json<{
      start: string
      attempts: { instance: string; vmm: string; snapshot: string }[]
    }>()
    assert.deepEqual([start, attempts[0]?.instance, attempts[0]?.snapshot], ['warm', instance, 'runtime'])
    assert.match(attempts[0]?.vmm ?? '', /^qemu /)
    // Its own identity towards the platform's API is that of its channel, which is a new one.
    assert.deepEqual((await invoke(next, 'keeper', { whoami: true })).json(), [3, 200])
    assert.equal(vmmOf(instance), pid)
    assert.deepEqual(handles(), [instance])
  })

test('kill -9: a Python function goes on as well', { skip }, async () => {
  const dead = await up()
  await call(dead, 'DELETE', '/v1/functions/keeper')
  const python = `
calls = 0
def handler(event, context):
    global calls
    calls += 1
    return calls
`
  const config = { isolation: 'vm', timeoutMs: 120_000, keepAliveMs: 600_000 }
  await deployFiles(dead, {
    name: 'snake',
    runtime: 'python',
    handler: 'main.handler',
    files: { 'main.py': python },
    config,
  })
  assert.equal((await invoke(dead, 'snake', {})).body.toString(), '1')
  await until(() => handles().length > 0 || 'no handle', { what: 'a handle on disk' })
  await dead.kill9()
  const next = await upWithTaken()
  const reply = await invoke(next, 'snake', {})
  assert.deepEqual([reply.body.toString(), reply.headers.get('hearth-start')], ['2', 'warm'])
})

const hasEgress = existsSync('/usr/sbin/nft')
test('kill -9 twice: the machine is taken over again, its network with it', { skip }, async () => {
  await (await upWithKeeper(hasEgress ? { network: 'egress' } : {})).kill9()
  await (await upWithTaken()).kill9()
  const next = await upWithTaken()
  const [calls, answer] = (await invoke(next, 'keeper', { lookUp: hasEgress })).json<unknown[]>()
  assert.equal(calls, 2)
  // The platform's resolver has answered, whether or not it could ask further. Without a network: ETIMEOUT, ECONNREFUSED.
  if (hasEgress) assert.match(String(answer), /^(ENOTFOUND|ESERVFAIL|EREFUSED|ENODATA)$/)
})

test(
  'kill -9 while an invocation runs: it is over, its machine is ended, the function log says so',
  { skip },
  async () => {
    const dead = await upWithKeeper()
    const [instance = ''] = handles()
    const pid = vmmOf(instance)
    const hanging = invoke(dead, 'keeper', { hang: true }).catch((error: unknown) => error)
    // Not that its Instance is busy: that it is before its machine has gone on.
    const isThere = async (): Promise<true | string> => {
      const log = (await call(dead, 'GET', '/v1/functions/keeper/logs?tail=5')).body.toString()
      return log.includes('it hangs') || log
    }
    await until(isThere, { what: 'the invocation to run' })
    await dead.kill9()
    assert.ok((await hanging) instanceof Error)

    const next = await up()
    await until(() => !isAlive(pid) || 'alive', { what: 'its machine to end' })
    assert.deepEqual(await refusals(next), ['it still ran an invocation, which ended as crashed'])
    const log = await call(next, 'GET', '/v1/functions/keeper/logs?tail=5')
    assert.match(log.body.toString(), /still ran an invocation of the platform before this one, which ended as crashed/)
    const reply = await invoke(next, 'keeper', {})
    assert.equal(reply.json<unknown[]>()[0], 1)
    assert.match(reply.headers.get('hearth-start') ?? '', /^cold/)
  },
)

/** The log comes over a pipe, the ready file does not. */
async function startMsOf(platform: Platform): Promise<unknown> {
  await until(() => events(platform, 'platform.start').length === 1 || platform.output(), {
    what: 'the log of the start',
  })
  return events(platform, 'platform.start')[0]?.['startMs']
}

test('a machine that does not answer: the platform starts in time without it, and ends it', { skip }, async () => {
  const dead = await upWithKeeper()
  const [instance = ''] = handles()
  const pid = vmmOf(instance)
  process.kill(pid, 'SIGSTOP')
  await dead.kill9()
  const next = await up()
  const startMs = await startMsOf(next)
  // 3 s for the machine, the rest for what every start does, on a busy machine; without a limit it waited for ever.
  assert.ok(typeof startMs === 'number' && startMs < 60_000, `startMs: ${String(startMs)}`)
  const reply = await invoke(next, 'keeper', {})
  assert.equal(reply.json<unknown[]>()[0], 1)
  await until(() => !isAlive(pid) || 'alive', { what: 'the stopped machine to end' })
  assert.match(String(await refusals(next)), /take over instance "i-\w+": the deadline passed/)
})

test('a secret that was set again meanwhile: the machine is ended', { skip }, async () => {
  const before = await up()
  await call(before, 'PUT', '/v1/secrets/adopt-token', { value: 'one' })
  await before.stop()
  const dead = await upWithKeeper({ secrets: { TOKEN: 'adopt-token' } })
  assert.equal((await invoke(dead, 'keeper', {})).json<unknown[]>()[1], 'one')
  const [instance = ''] = handles()
  const pid = vmmOf(instance)
  await dead.kill9()
  const sealed = openVault({ file: path.join(data, 'master.key') }).seal('default', 'adopt-token', 'two')
  const db = new DatabaseSync(path.join(data, 'hearth.db'))
  db.prepare("UPDATE secrets SET sealed = ?, revision = revision + 1 WHERE name = 'adopt-token'").run(sealed)
  db.close()

  const next = await up()
  const reply = await invoke(next, 'keeper', {})
  assert.deepEqual(reply.json<unknown[]>().slice(0, 2), [1, 'two'])
  assert.equal(isAlive(pid), false)
  assert.deepEqual(await refusals(next), ['its secrets were set again'])
})

test('an orderly stop ends every machine', { skip }, async () => {
  const stopped = await upWithKeeper()
  const [instance = ''] = handles()
  const pid = vmmOf(instance)
  await stopped.stop()
  assert.equal(isAlive(pid), false)
  assert.deepEqual(handles(), [])
  const next = await up()
  assert.match((await invoke(next, 'keeper', {})).headers.get('hearth-start') ?? '', /^cold/)
})
