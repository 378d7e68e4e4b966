import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { Readable } from 'node:stream'
import { after, before, beforeEach, test } from 'node:test'
import { zipOf } from '../../test/support/functions.ts'
import { startScripted, type ApiInProcess } from '../../test/support/in-process.ts'
import { scriptedAgent, type ScriptedAgent } from '../../test/support/scripted-agent.ts'
import type { Digest } from '../domain/artifact.ts'
import type { Caller, FunctionView, InvokeReply, InvokeRequest, UpdateFunction } from '../domain/control.ts'
import { AppError, invalid } from '../domain/error.ts'

/* Deploying at the control: what is refused leaves everything as it was, what is accepted comes true later. */

const admin: Caller = { actor: 'tester', project: 'default', scopes: ['admin'] }
const later = { wait: false, mustLoad: false }
let api: ApiInProcess<ScriptedAgent>
before(async () => {
  api = await startScripted()
})
after(async () => api.close())
beforeEach(() => {
  api.agent.onDeploy = async () => {}
})

async function uploaded(content: string, at: ApiInProcess<ScriptedAgent> = api): Promise<Digest> {
  const bytes = await zipOf({ 'index.js': content })
  return (
    await at.control.artifacts.put(admin, Readable.from([bytes]), { expect: null, kind: 'code', bytesExpected: null })
  ).digest
}

async function create(name: string, options = { wait: true, mustLoad: false }, at = api): Promise<FunctionView> {
  const code = { artifact: await uploaded(`// ${name}`, at) }
  return at.control.functions.create(
    admin,
    { name, code, config: { runtime: 'node', handler: 'index.handler' } },
    options,
  )
}

function request(functionName: string): InvokeRequest {
  const payload = Buffer.from('{}')
  const rest = { qualifier: null, deadline: null, priority: 3, traceparent: null, wantLogTail: false }
  return { caller: admin, functionName, contentType: 'application/json', payload, ...rest }
}

function invoking(name: string, changes: Partial<InvokeRequest> = {}, at = api): Promise<InvokeReply> {
  return new Promise((resolve) => void at.control.invoke({ ...request(name), ...changes }, resolve))
}

/** Makes the next deploys wait until told how they end. */
function holdDeploys(at = api): { succeed: () => void; fail: (error: Error) => void } {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  promise.catch(() => {})
  at.agent.onDeploy = async () => promise
  return { succeed: resolve, fail: reject }
}

async function until(holds: () => Promise<boolean>): Promise<void> {
  const startedAt = performance.now()
  while (!(await holds())) {
    assert.ok(performance.now() - startedAt < 60_000, 'it never came true')
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

const failures: readonly (readonly [string, UpdateFunction, string])[] = [
  ['code that was never uploaded', { code: { artifact: `sha256:${'0'.repeat(64)}` } }, 'invalid'],
  ['a runtime that is not there', { config: { runtime: 'node18' } }, 'invalid'],
  ['a secret that is not there', { config: { secrets: { A: 'absent' } } }, 'invalid'],
  ['a value out of range', { config: { memoryMib: 1 } }, 'invalid'],
]
for (const [title, input, code] of failures)
  test(`functions.update: ${title} is refused and the function is as it was`, async () => {
    const name = title.replaceAll(' ', '-')
    await create(name)
    const [view, audit, deployed] = await stateOf(name)
    await assert.rejects(api.control.functions.update(admin, name, input), { code })
    await assert.rejects(api.control.functions.update(admin, name, input, later), { code })
    assert.deepEqual(await stateOf(name), [view, audit, deployed])
  })

/** All that a failed deploy could have touched; uploads come before it. */
async function stateOf(name: string): Promise<readonly [FunctionView, number, number]> {
  const { items } = await api.control.audit(admin, { limit: 1_000 })
  const entries = items.filter(({ action }) => action !== 'artifact.put')
  return [await api.control.functions.get(admin, name), entries.length, api.agent.deployed.length]
}

test('functions.create and update: an agent that cannot make it invocable leaves no version, no alias, no audit entry', async () => {
  await create('agent-fails')
  const [view, audit] = await stateOf('agent-fails')
  api.agent.onDeploy = async () => {
    throw invalid('archive', 'x', 'whole', 'The archive is broken.')
  }
  const broken = { code: { artifact: await uploaded('// broken') } }
  await assert.rejects(api.control.functions.update(admin, 'agent-fails', broken), { code: 'invalid' })
  await assert.rejects(create('agent-fails-at-first'), { message: 'The archive is broken.' })
  api.agent.onDeploy = async () => {}
  const [viewAfter, auditAfter] = await stateOf('agent-fails')
  assert.deepEqual([viewAfter, auditAfter], [view, audit])
  assert.equal((await api.control.functions.versions(admin, 'agent-fails', { limit: 10 })).items.length, 1)
  await assert.rejects(api.control.functions.get(admin, 'agent-fails-at-first'), { code: 'not_found' })
  assert.equal((await api.control.functions.update(admin, 'agent-fails', broken)).version.number, 2)
})

test('functions.create without waiting: pending at once, calls wait for it and are answered by it', async () => {
  const held = holdDeploys()
  const accepted = await create('later', later)
  assert.deepEqual([accepted.version.number, accepted.version.state], [1, 'pending'])
  const reply = invoking('later')
  held.succeed()
  assert.equal((await reply).outcome, 'succeeded')
  const { version } = await api.control.functions.get(admin, 'later')
  assert.deepEqual([version.state, version.stateReason], ['active', null])
})

test('functions.create without waiting: who waits for a pending version has a deadline and can cancel', async () => {
  const held = holdDeploys()
  await create('waited-for', later)
  const expired = await invoking('waited-for', { deadline: Date.now() + 30 })
  assert.deepEqual([expired.outcome, expired.effect, expired.version], ['expired', 'never_started', 1])
  const reply = Promise.withResolvers<InvokeReply>()
  const cancel = api.control.invoke(request('waited-for'), reply.resolve)
  await new Promise((resolve) => setTimeout(resolve, 20))
  cancel('it took too long')
  assert.equal((await reply.promise).outcome, 'cancelled')
  held.succeed()
})

test('functions.create without waiting: a failed preparation is visible with its reason, and calls say so', async () => {
  const held = holdDeploys()
  await create('never', later)
  const waiting = invoking('never')
  held.fail(invalid('code', undefined, 'code that loads', 'The code does not load: SyntaxError: no.'))
  for (const reply of [await waiting, await invoking('never')]) {
    assert.deepEqual([reply.outcome, reply.effect, reply.crashReason], ['crashed', 'never_started', 'init_error'])
    assert.match(reply.error?.errorMessage ?? '', /^Version 1 cannot run: The code does not load: SyntaxError: no\.$/)
  }
  const { version } = await api.control.functions.get(admin, 'never')
  assert.deepEqual([version.state, version.stateReason], ['failed', 'The code does not load: SyntaxError: no.'])
  const actions = (await api.control.audit(admin, { limit: 5 })).items.filter(({ target }) => target === 'never:1')
  assert.deepEqual(
    actions.map(({ action, actor }) => [action, actor]),
    [['version.failed', 'platform']],
  )
})

test('functions.update without waiting: the version before serves until the new one is active, then $LATEST moves', async () => {
  await create('swapped')
  const held = holdDeploys()
  const accepted = await api.control.functions.update(admin, 'swapped', { config: { memoryMib: 512 } }, later)
  assert.equal(accepted.version.number, 1)
  assert.deepEqual(accepted.record.update, { version: 2, state: 'pending', reason: null })
  assert.equal((await invoking('swapped')).version, 1)
  const direct = invoking('swapped', { qualifier: '2' })
  held.succeed()
  assert.equal((await direct).version, 2)
  assert.equal((await invoking('swapped')).version, 2)
  assert.ok(api.agent.evicted.some(({ functionName, version }) => functionName === 'swapped' && version === 1))
  assert.equal((await api.control.functions.get(admin, 'swapped')).record.update, null)
})

test('functions.update without waiting: a failed one leaves the version before in place, and rollback passes it over', async () => {
  await create('kept')
  const failing = holdDeploys()
  await api.control.functions.update(admin, 'kept', { config: { memoryMib: 512 } }, later)
  failing.fail(new AppError('driver_failed', 'No sandbox.'))
  const updateOf = async (name: string) => (await api.control.functions.get(admin, name)).record.update
  await until(async () => (await updateOf('kept'))?.state === 'failed')
  assert.deepEqual(await updateOf('kept'), { version: 2, state: 'failed', reason: 'No sandbox.' })
  assert.equal((await invoking('kept')).version, 1)
  for (const repoint of [
    async () => api.control.functions.rollback(admin, 'kept', 2),
    async () => api.control.aliases.set(admin, 'kept', 'live', 2),
  ])
    await assert.rejects(repoint, {
      code: 'conflict',
      message: /Version 2 of function "kept" cannot run: No sandbox\./,
    })
  api.agent.onDeploy = async () => {}
  const next = await api.control.functions.update(admin, 'kept', { config: { memoryMib: 640 } })
  assert.deepEqual([next.version.number, next.record.update], [3, null])
  assert.equal((await api.control.functions.rollback(admin, 'kept', null)).version.number, 1)
})

test('functions.update: builds on what is pending, and what was pending does not overtake it', async () => {
  await create('stacked')
  const held = holdDeploys()
  await api.control.functions.update(admin, 'stacked', { config: { memoryMib: 512 } }, later)
  api.agent.onDeploy = async () => {}
  const waited = await api.control.functions.update(admin, 'stacked', { config: { timeoutMs: 5_000 } })
  assert.deepEqual([waited.version.number, waited.version.config.memoryMib], [3, 512])
  held.succeed()
  const second = async () => (await api.store.functions.version('default', 'stacked', 2))?.state
  await until(async () => (await second()) === 'active')
  assert.equal((await api.control.functions.get(admin, 'stacked')).version.number, 3)
})

test('functions.rollback: is the last word, also over what was pending', async () => {
  await create('last-word')
  await api.control.functions.update(admin, 'last-word', { config: { memoryMib: 512 } })
  const held = holdDeploys()
  await api.control.functions.update(admin, 'last-word', { config: { memoryMib: 640 } }, later)
  await api.control.functions.rollback(admin, 'last-word', 1)
  held.succeed()
  const third = async () => (await api.store.functions.version('default', 'last-word', 3))?.state
  await until(async () => (await third()) === 'active')
  assert.equal((await api.control.functions.get(admin, 'last-word')).version.number, 1)
})

test('functions.delete: what was pending does not come back under the name', async () => {
  const held = holdDeploys()
  await create('reborn', later)
  await api.control.functions.delete(admin, 'reborn')
  const next = holdDeploys()
  await create('reborn', later)
  held.succeed()
  await new Promise((resolve) => setTimeout(resolve, 50))
  assert.equal((await api.control.functions.get(admin, 'reborn')).version.state, 'pending')
  next.succeed()
  await until(async () => (await api.control.functions.get(admin, 'reborn')).version.state === 'active')
})

test('functions: mustLoad reaches the agent, also for what is prepared later', async () => {
  await create('loaded', { wait: true, mustLoad: true })
  await api.control.functions.update(admin, 'loaded', { config: { memoryMib: 512 } }, { wait: false, mustLoad: true })
  await until(async () => (await api.control.functions.get(admin, 'loaded')).version.number === 2)
  const mine = api.agent.deployed.filter(({ version }) => version.functionName === 'loaded')
  assert.deepEqual(
    mine.map(({ version, mustLoad }) => [version.number, mustLoad]),
    [
      [1, true],
      [2, true],
    ],
  )
})

test("a platform that ends takes up again what it had accepted, and calls no failure of its own doing the code's", async (t) => {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'hearth-pending-'))
  t.after(async () => rm(folder, { recursive: true, force: true }))
  const first = await startScripted(scriptedAgent(), { folder })
  const held = holdDeploys(first)
  await create('survivor', { wait: false, mustLoad: true }, first)
  await first.control.drain(0)
  held.fail(new Error('The agent is closing.'))
  await first.close()
  const second = await startScripted(scriptedAgent(), { folder })
  assert.equal((await invoking('survivor', {}, second)).outcome, 'succeeded')
  const { version } = await second.control.functions.get(admin, 'survivor')
  assert.equal(version.state, 'active')
  assert.deepEqual(
    second.agent.deployed.map(({ mustLoad }) => mustLoad),
    [true],
  )
  await second.close()
})

test('secrets.set: rotation retires the warm Instances that hold it', async () => {
  await api.control.secrets.set(admin, 'rotated', 'one')
  api.agent.evicted.length = 0
  const { revision } = await api.control.secrets.set(admin, 'rotated', 'two')
  assert.equal(revision, 2)
  assert.deepEqual(api.agent.evicted, [{ project: 'default', secret: 'rotated' }])
})

test('secrets.delete: refused while a pending version names it', async () => {
  await api.control.secrets.set(admin, 'needed', 'value')
  await create('needs')
  const held = holdDeploys()
  await api.control.functions.update(admin, 'needs', { config: { secrets: { A: 'needed' } } }, later)
  await assert.rejects(api.control.secrets.delete(admin, 'needed'), { code: 'conflict', message: /"needs:2"/ })
  held.fail(new Error('no'))
  await until(async () => (await api.control.functions.get(admin, 'needs')).record.update?.state === 'failed')
  await api.control.secrets.delete(admin, 'needed')
})

const kept = (functionName: string, ...numbers: number[]) =>
  numbers.map((number) => ({ project: 'default', functionName, number }))

async function updated(name: string, description: string, at = api): Promise<FunctionView> {
  return at.control.functions.update(admin, name, { config: { description } })
}

test('delete: the node forgets every Version of the function, and of no other', async () => {
  await create('doomed')
  await create('other')
  api.agent.files = [...kept('doomed', 1, 2), ...kept('other', 1)]
  api.agent.forgotten.length = 0
  api.agent.removed.length = 0
  await api.control.functions.delete(admin, 'doomed')
  assert.deepEqual(api.agent.removed, [{ project: 'default', functionName: 'doomed' }])
  assert.deepEqual(api.agent.forgotten, ['default/doomed:1', 'default/doomed:2'])
  assert.deepEqual(api.agent.files, kept('other', 1))
})

test('update and rollback: kept are $LATEST, what aliases name, what is on its way, and where a rollback goes', async () => {
  await create('many')
  for (const number of [2, 3, 4, 5]) await updated('many', `${number}`)
  await api.control.aliases.set(admin, 'many', 'prod', 2)
  api.agent.files = kept('many', 1, 2, 3, 4, 5)
  await updated('many', '6')
  assert.deepEqual(api.agent.files, kept('many', 2, 5))
  api.agent.files = kept('many', 1, 2, 3, 4, 5, 6, 7)
  const held = holdDeploys()
  await api.control.functions.update(admin, 'many', { config: { description: '7' } }, later)
  await api.control.functions.rollback(admin, 'many', 4)
  assert.deepEqual(api.agent.files, kept('many', 2, 3, 4, 7))
  held.succeed()
})

test('aliases.delete and set: what the node keeps of a Version goes with its last name, after the deploy under way', async () => {
  await create('named')
  await api.control.aliases.set(admin, 'named', 'live', 1)
  await api.control.aliases.set(admin, 'named', 'old', 1)
  for (const number of [2, 3]) await updated('named', `${number}`)
  api.agent.files = kept('named', 1, 2, 3)
  await api.control.aliases.delete(admin, 'named', 'old')
  // Done in the function's turn: so is this, after it.
  await api.control.functions.rollback(admin, 'named', 3)
  assert.deepEqual(api.agent.files, kept('named', 1, 2, 3), 'another alias names it')
  await api.control.aliases.delete(admin, 'named', 'live')
  await until(async () => api.agent.files.length === 2)
  assert.deepEqual(api.agent.files, kept('named', 2, 3))
  await api.control.aliases.set(admin, 'named', 'live', 1)
  api.agent.files = kept('named', 1, 2, 3)
  const held = holdDeploys()
  const updating = updated('named', '4')
  await until(async () => api.agent.deployed.at(-1)?.version.number === 4)
  api.agent.files = kept('named', 1, 2, 3, 4)
  await api.control.aliases.set(admin, 'named', 'live', 3)
  api.agent.forgotten.length = 0
  held.succeed()
  await updating
  await until(async () => api.agent.files.length === 2)
  assert.deepEqual(api.agent.files, kept('named', 3, 4))
  assert.deepEqual(api.agent.forgotten.toSorted(), ['default/named:1', 'default/named:2'])
  await api.control.aliases.set(admin, 'named', 'live', 1)
  api.agent.files = kept('named', 1, 3, 4)
  await api.control.aliases.set(admin, 'named', 'live', 3)
  await until(async () => api.agent.files.length === 2)
  assert.deepEqual(api.agent.files, kept('named', 3, 4))
})

test('create, update: of a Version that does not come to be the node keeps nothing', async () => {
  await create('fragile')
  api.agent.onDeploy = async () => {
    throw invalid('code', 'x', 'something that loads')
  }
  api.agent.forgotten.length = 0
  await assert.rejects(create('unborn'), { code: 'invalid' })
  await assert.rejects(updated('fragile', '2'), { code: 'invalid' })
  const view = await api.control.functions.update(admin, 'fragile', { config: { description: '3' } }, later)
  assert.equal(view.record.update?.state, 'pending')
  await until(async () => (await api.control.functions.get(admin, 'fragile')).record.update?.state === 'failed')
  assert.deepEqual(api.agent.forgotten, ['default/unborn:1', 'default/fragile:2', 'default/fragile:2'])
})

test('delete: what a deploy that was under way still made is forgotten after it', async () => {
  await create('racing')
  const held = holdDeploys()
  await api.control.functions.update(admin, 'racing', { config: { description: '2' } }, later)
  await api.control.functions.delete(admin, 'racing')
  api.agent.forgotten.length = 0
  held.succeed()
  await until(async () => api.agent.forgotten.includes('default/racing:2'))
})

test('createControl: what an earlier platform left of Versions that are gone is forgotten', async () => {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'hearth-kept-'))
  const first = await startScripted(scriptedAgent(), { folder })
  await create('stays', { wait: true, mustLoad: false }, first)
  await first.close()
  const agent = scriptedAgent()
  agent.files = [...kept('stays', 1, 9), ...kept('gone', 3)]
  const second = await startScripted(agent, { folder })
  try {
    await until(async () => agent.files.length === 1)
    assert.deepEqual(agent.files, kept('stays', 1))
  } finally {
    await second.close()
    await rm(folder, { recursive: true, force: true })
  }
})

test('functions.create and update: a program that is new or another is started once before it goes live, unless told otherwise; nothing else is', async () => {
  const code = { artifact: await uploaded('// first') }
  const functions = api.control.functions
  for (const [name, config, isProgram] of [
    ['a-bootstrap', { runtime: 'provided' }, true],
    ['a-server', { runtime: 'node', contract: 'http' }, true],
    ['a-handler', { runtime: 'node', handler: 'index.handler' }, false],
  ] as const) {
    api.agent.deployed.length = 0
    await functions.create(admin, { name, code, config })
    await functions.update(admin, name, { code: { artifact: await uploaded(`// second of ${name}`) } })
    await functions.update(admin, name, { config: { env: { A: '1' } } })
    await functions.update(admin, name, { config: { runtime: config.runtime } })
    await functions.update(admin, name, { code }, { wait: true, mustLoad: false })
    await functions.update(admin, name, { config: { env: {} } }, { wait: true, mustLoad: true })
    const started = api.agent.deployed.map(({ mustLoad }) => mustLoad)
    assert.deepEqual(started, [isProgram, isProgram, false, isProgram, false, true], name)
  }
})
