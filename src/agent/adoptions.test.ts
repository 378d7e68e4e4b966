import assert from 'node:assert/strict'
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { afterEach, test } from 'node:test'
import { ManualClock } from '../domain/clock.ts'
import type { Digest } from '../domain/artifact.ts'
import type { Version } from '../domain/function.ts'
import type { LogFields, Logger } from '../domain/logger.ts'
import { silentLogger } from '../domain/logger.ts'
import type { LocalAgentOptions } from './local-agent-options.ts'
import { machineMib } from './rest-policy.ts'
import { AgentRig, FakeDriver, foldersAsArtifacts, versionOf, type FakeMeta } from '../../test/support/agent-rig.ts'
import { until } from '../../test/support/until.ts'

/* Two agents on one fake driver: the first is left as a kill leaves it, the second finds what is on disk. */

const version = versionOf({ isolation: 'vm', snapshot: 'none', secrets: { TOKEN: 'token' }, keepAliveMs: 600_000 })

type Rig = AgentRig

const rigs: Rig[] = []
afterEach(async () => {
  for (const rig of rigs.splice(0)) await rig.close()
})

interface Next {
  readonly rig: Rig
  /** Why Instances were refused. */
  readonly refused: string[]
}

/** An agent that ran `version` once, and how another finds it; `meta.sleep` never ends while nobody moves the clock. */
async function killed(options: { event?: unknown; of?: Version } = {}): Promise<{
  first: Rig
  next: (found?: Version | null, memoryMib?: number, rest?: Partial<LocalAgentOptions>, on?: FakeDriver) => Next
}> {
  const clock = new ManualClock()
  let calls = 0
  const handler = async (event: unknown, meta: FakeMeta): Promise<unknown> => {
    if (event !== null && typeof event === 'object' && 'hang' in event) await meta.sleep(Number.MAX_SAFE_INTEGER)
    return { calls: ++calls, instance: meta.instanceId }
  }
  const driver = new FakeDriver({ clock, isVm: true, handler })
  const agentOptions = { vmPoolSize: 0 }
  const first = new AgentRig(clock, driver, agentOptions)
  rigs.push(first)
  first.secrets.set('token', 'one')
  await first.agent.register()
  const of = options.of ?? version
  assert.equal((await first.run(of, {})).result.outcome, 'succeeded')
  const folders = {
    instances: path.join(first.folder, 'instances'),
    logs: path.join(first.folder, 'logs'),
    snapshots: path.join(first.folder, 'snapshots'),
  }
  if (of.config.reuse !== 'never')
    await until(() => handlesIn(first).length === 1 || 'no handle', { what: 'the handle' })
  if (options.event !== undefined) first.begin(of, options.event)
  const next = (
    found: Version | null = of,
    memoryMib = 8_192,
    rest: Partial<LocalAgentOptions> = {},
    on = driver,
  ): Next => {
    const refused: string[] = []
    const warn = (event: string, fields: LogFields = {}): void => {
      if (event === 'instance.adopt.refused') refused.push(String(fields['why']))
    }
    const logger: Logger = { ...silentLogger, warn }
    const survivors = { versions: { find: async () => found }, sweep: async () => [] }
    const rig = new AgentRig(clock, on, { ...agentOptions, folders, memoryMib, survivors, logger, ...rest })
    rigs.push(rig)
    rig.secrets.set('token', 'one')
    return { rig, refused }
  }
  return { first, next }
}

/** Resolves when `rig` has begun, at the pace of its clock. */
async function registered(rig: Rig): Promise<void> {
  let isRegistered = false
  const registering = rig.agent.register().then(() => (isRegistered = true))
  await until(async () => (await rig.advance(1_000), isRegistered) || 'not yet', {
    what: 'the start',
  })
  await registering
}

function handlesIn(rig: Rig): string[] {
  const folder = path.join(rig.folder, 'instances')
  try {
    return readdirSync(folder).filter((name) => readdirSync(path.join(folder, name)).includes('handle.json'))
  } catch {
    return []
  }
}

test('Adoptions: an idle Instance serves the next invocation warm, under its id, and counts towards memory', async () => {
  const { first, next } = await killed()
  const [id] = handlesIn(first)
  const folder = path.join(first.folder, 'instances', String(id))
  assert.equal(statSync(folder).mode & 0o777, 0o700)
  assert.equal(statSync(path.join(folder, 'handle.json')).mode & 0o777, 0o600)
  const { rig, refused } = next()
  const status = await rig.agent.register()
  assert.deepEqual(refused, [])
  assert.equal(status.instances.frozen, 1)
  assert.equal(status.freeMib, 8_192 - version.config.memoryMib)
  const { result, body } = await rig.run(version, {})
  assert.equal((await rig.agent.status()).freeMib, 8_192 - version.config.memoryMib)
  assert.deepEqual([result.outcome, result.start, result.attempt?.instance], ['succeeded', 'warm', id])
  assert.deepEqual(JSON.parse(body.toString()), { calls: 2, instance: id })
})

test('Adoptions: a clone rests and counts as a frozen one does, and all of its size when it is invoked', async () => {
  const { first, next } = await killed()
  const [id = ''] = handlesIn(first)
  const file = path.join(first.folder, 'instances', id, 'handle.json')
  writeFileSync(
    file,
    readFileSync(file, 'utf8').replace('"snapshot":"none"', '"snapshot":"runtime, function refused: x"'),
  )
  const { rig } = next()
  const { instances, freeMib } = await rig.agent.register()
  assert.deepEqual([instances.frozen, freeMib], [1, 8_192 - 40 - machineMib])
  assert.equal((await rig.run(version, {})).result.attempt?.instance, id)
  assert.equal((await rig.agent.status()).freeMib, 8_192 - version.config.memoryMib)
})

test('Adoptions: one that still ran an invocation is killed, and its handle goes', async () => {
  const { first, next } = await killed({ event: { hang: true } })
  const { rig, refused } = next()
  await rig.agent.register()
  assert.deepEqual(refused, ['it still ran an invocation, which ended as crashed'])
  assert.equal(rig.driver.alive.size, 0)
  await until(() => handlesIn(first).length === 0 || 'still there', { what: 'the handle to go' })
  const [line] = await rig.agent.logs.tail(version.project, version.functionName, 1)
  assert.match(line?.text ?? '', /still ran an invocation of the platform before this one/)
  assert.equal((await rig.run(version, {})).result.start, 'boot')
})

const refusals: [string, Version | null, string][] = [
  ['of a Version that is gone', null, 'default/fn:1 is gone'],
  ['of a function made anew', { ...version, createdAt: version.createdAt + 1 }, 'default/fn:1 is another version now'],
  [
    'that now asks for a process',
    { ...version, config: { ...version.config, isolation: 'process' } },
    'No process driver works on this node: "hearth doctor" says why.',
  ],
]
for (const [what, found, why] of refusals)
  test(`Adoptions: an Instance ${what} is refused`, async () => {
    const { first, next } = await killed()
    const { rig, refused } = next(found)
    await rig.agent.register()
    assert.deepEqual(refused, [
      why.replace('default/fn:1', `${version.project}/${version.functionName}:${version.number}`),
    ])
    await until(() => handlesIn(first).length === 0 || 'still there', { what: 'the handle to go' })
  })

test('Adoptions: one whose secret was set again is refused', async () => {
  const { next } = await killed()
  const { rig, refused } = next()
  rig.secrets.set('token', 'two')
  await rig.agent.register()
  assert.deepEqual(refused, ['its secrets were set again'])
})

test('Adoptions: what the driver refuses, or has no memory left, is said', async () => {
  const { first, next } = await killed()
  first.driver.faults.failRecover = 'It was made by fake 0.'
  const one = next()
  await one.rig.agent.register()
  assert.deepEqual(one.refused, ['It was made by fake 0.'])

  const { next: after } = await killed()
  const two = after(version, 63)
  await two.rig.agent.register()
  assert.deepEqual(two.refused, ['there is no memory for it'])

  // A guest that holds more than it counted at first, with nobody evicted for it.
  const { first: hungry, next: later } = await killed()
  hungry.driver.faults.memoryBytes = 100 * 2 ** 20
  const three = later(version, 99)
  await three.rig.agent.register()
  assert.deepEqual(three.refused, ['there is no memory for it'])
  assert.equal(three.rig.driver.alive.size, 0)
  assert.equal((await three.rig.agent.status()).freeMib, 99)
})

test('Adoptions: one that does not answer holds up the start for 3 s, and is ended after 20 s', async () => {
  const { first, next } = await killed()
  first.driver.faults.hangOnRecover = true
  const { rig, refused } = next()
  const fromMs = rig.clock.monotonicMs()
  await registered(rig)
  assert.ok(rig.clock.monotonicMs() - fromMs <= 4_000)
  assert.deepEqual(refused, [])
  await rig.advance(20_000)
  assert.equal(refused.length, 1)
  assert.match(refused[0] ?? '', /deadline/)
  assert.equal(rig.driver.alive.size, 0)
})

test('Adoptions: one that does not answer for its memory counts all of it, and the start goes on', async () => {
  const { first, next } = await killed()
  first.driver.faults.hangOnStats = true
  const { rig, refused } = next()
  await registered(rig)
  const status = await rig.agent.status()
  assert.deepEqual(refused, [])
  assert.deepEqual([status.instances.frozen, status.freeMib], [1, 8_192 - version.config.memoryMib])
})

/** An agent that has begun, with an Instance whose bundle `fetched` holds back. */
async function beginning(): Promise<Next & { id: string; fetched: () => void }> {
  const { first, next } = await killed()
  const [id = ''] = handlesIn(first)
  const gate = Promise.withResolvers<void>()
  const artifacts = foldersAsArtifacts(new Map(), first.folder)
  const slow = { ...artifacts, unpack: (digest: Digest) => gate.promise.then(() => artifacts.unpack(digest)) }
  const begun = next(version, 8_192, { artifacts: slow })
  await registered(begun.rig)
  assert.deepEqual(begun.refused, [])
  return { ...begun, id, fetched: gate.resolve }
}

test('Adoptions: a bundle that takes long holds up the start for 3 s, and its Instance joins later', async () => {
  const { rig, refused, fetched, id } = await beginning()
  assert.equal((await rig.agent.status()).instances.frozen, 0)
  fetched()
  await until(async () => (await rig.agent.status()).instances.frozen === 1 || 'not yet', {
    what: 'the Instance to join',
  })
  assert.deepEqual(refused, [])
  assert.equal((await rig.run(version, {})).result.attempt?.instance, id)
})

for (const [what, filter] of [
  ['secret is set', { project: 'default', secret: 'token' }],
  ['function is deleted', { project: 'default', functionName: 'fn' }],
] as const)
  test(`Adoptions: one whose ${what} while it is taken over is ended`, async () => {
    const { rig, refused, fetched } = await beginning()
    assert.equal(await rig.agent.evict({ project: 'other', secret: 'token' }), 0)
    assert.equal(await rig.agent.evict(filter), 1)
    fetched()
    await until(() => refused.length === 1 || 'not yet', { what: 'the refusal' })
    assert.match(refused[0] ?? '', /^it was evicted/)
    assert.equal(rig.driver.alive.size, 0)
    assert.equal((await rig.agent.status()).freeMib, 8_192)
  })

test('Adoptions: what was changed without a word while one is taken over is seen before it joins', async () => {
  const { rig, refused, fetched } = await beginning()
  rig.secrets.set('token', 'two')
  fetched()
  await until(() => refused.length === 1 || 'not yet', { what: 'the refusal' })
  assert.deepEqual(refused, ['its secrets were set again'])
  assert.equal(rig.driver.alive.size, 0)
})

test('Adoptions: one made on another accelerator is refused', async () => {
  const { next } = await killed()
  const clock = new ManualClock()
  const emulated = new FakeDriver({ clock, isVm: true, accelerator: 'tcg', handler: () => null })
  const { rig, refused } = next(version, 8_192, {}, emulated)
  await rig.agent.register()
  assert.deepEqual(refused, ['it was made by fake 1 (kvm), here is fake 1 (tcg)'])
})

test('Adoptions: one that ends when its use is read does not join', async () => {
  const { first, next } = await killed()
  first.driver.faults.exitOnStats = { code: null, signal: 'SIGKILL', oom: false }
  const { rig, refused } = next()
  const status = await rig.agent.register()
  assert.equal(refused.length, 1)
  assert.match(refused[0] ?? '', /^it ended/)
  assert.deepEqual([status.instances.frozen, status.instances.ready, status.freeMib], [0, 0, 8_192])
})

test('Adoptions: an Instance for one invocation alone leaves no handle', async () => {
  const { first } = await killed({ of: versionOf({ isolation: 'vm', snapshot: 'none', reuse: 'never' }) })
  await first.agent.close()
  assert.deepEqual(handlesIn(first), [])
})

test('Adoptions: an orderly end leaves no handle', async () => {
  const { first } = await killed()
  await first.agent.close()
  assert.deepEqual(handlesIn(first), [])
})
