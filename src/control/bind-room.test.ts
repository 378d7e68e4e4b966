import assert from 'node:assert/strict'
import { Readable } from 'node:stream'
import { test, type TestContext } from 'node:test'
import { zipOf } from '../../test/support/functions.ts'
import { startScripted, type ApiInProcess } from '../../test/support/in-process.ts'
import { scriptedAgent, type ScriptedAgent } from '../../test/support/scripted-agent.ts'
import type { Caller, UpdateFunction } from '../domain/control.ts'
import { Vault } from './vault.ts'

/* What no Instance could be started with, over a store and a vault for real. A BIND takes 63,488 bytes; each character here takes six. */

const admin: Caller = { actor: 'tester', project: 'default', scopes: ['admin'] }
const later = { wait: false, mustLoad: false }
const wideEnv = { WIDE: '\u0001'.repeat(2_000) }
const wideSecret = '\u0001'.repeat(9_000)
const tooMuch = { code: 'invalid', field: 'secrets', message: /Invalid secrets "66\d{3} bytes as JSON"/ }

async function opened(t: TestContext): Promise<ApiInProcess<ScriptedAgent>> {
  const api = await startScripted(scriptedAgent())
  t.after(async () => api.close())
  return api
}

/** Function `f`, and what makes its next Versions. */
async function deployed(
  { control }: ApiInProcess,
  first: UpdateFunction['config'],
): Promise<(config: UpdateFunction['config'], options?: typeof later) => Promise<unknown>> {
  const bytes = await zipOf({ 'index.js': '' })
  const about = { expect: null, kind: 'code', bytesExpected: null } as const
  const { digest } = await control.artifacts.put(admin, Readable.from([bytes]), about)
  const config = { runtime: 'node', handler: 'index.handler', ...first }
  await control.functions.create(admin, { name: 'f', code: { artifact: digest }, config })
  return async (changes = {}, options) => control.functions.update(admin, 'f', { config: changes }, options)
}

test('functions.create and update: what does not fit a BIND with what the Version has already is refused', async (t) => {
  const api = await opened(t)
  await api.control.secrets.set(admin, 'wide', wideSecret)
  await assert.rejects(deployed(api, { env: wideEnv, secrets: { A: 'wide' } }), tooMuch)
  const update = await deployed(api, { env: wideEnv })
  await assert.rejects(update({ secrets: { A: 'wide' } }), tooMuch)
  await update({ secrets: { A: 'wide' }, env: {} })
  await assert.rejects(update({ env: wideEnv }), tooMuch)
})

test('functions.update: what is pending counts, which the update builds on, not what $LATEST still is', async (t) => {
  const api = await opened(t)
  await api.control.secrets.set(admin, 'wide', wideSecret)
  const update = await deployed(api, {})
  const held = Promise.withResolvers<void>()
  api.agent.onDeploy = async () => held.promise
  t.after(() => held.resolve())
  await update({ env: wideEnv }, later)
  await assert.rejects(update({ secrets: { A: 'wide' } }, later), tooMuch)
  await update({ env: {} }, later)
  await update({ secrets: { A: 'wide' } }, later)
  await update({ secrets: {} }, later)
  await update({ env: wideEnv }, later)
})

test('secrets.set: a value must fit every Version that is called or about to be, by whatever name', async (t) => {
  const api = await opened(t)
  const { secrets, aliases } = api.control
  const refused = async (number: number): Promise<void> => {
    const message = new RegExp(
      `bytes as JSON with the environment and other secrets of function "f", version ${number}\\.$`,
    )
    await assert.rejects(secrets.set(admin, 'grows', wideSecret), { code: 'invalid', field: 'value', message })
  }
  await secrets.set(admin, 'grows', 'short')
  const update = await deployed(api, { env: wideEnv, secrets: { A: 'grows' } })
  await refused(1)
  await aliases.set(admin, 'f', 'prod', 1)
  await update({ env: {} })
  await refused(1)
  await aliases.delete(admin, 'f', 'prod')
  const held = Promise.withResolvers<void>()
  api.agent.onDeploy = async () => held.promise
  t.after(() => held.resolve())
  await update({ env: wideEnv }, later)
  await refused(3)
  assert.equal((await secrets.set(admin, 'grows', 'shorter')).revision, 2)
})

test('secrets.set: what was sealed with a master key that is lost can be set again, also beside another of its kind', async (t) => {
  const api = await opened(t)
  const { secrets } = api.control
  const names = ['one', 'two']
  for (const name of names) await secrets.set(admin, name, 'value')
  await deployed(api, { secrets: { A: 'one', B: 'two' } })
  const audit = { actor: 'test', action: 'test', target: 'test', detail: {} }
  const lost = new Vault(Buffer.alloc(32, 7))
  for (const name of names) await api.store.secrets.set('default', name, lost.seal('default', name, 'value'), audit)
  for (const name of names) assert.equal((await secrets.set(admin, name, 'longer than before')).revision, 3)
})

test('secrets.set: a value that is no longer than the one before goes through, whatever Versions have', async (t) => {
  const api = await opened(t)
  await api.control.secrets.set(admin, 'shrinks', wideSecret)
  await deployed(api, { secrets: { A: 'shrinks' } })
  assert.equal((await api.control.secrets.set(admin, 'shrinks', wideSecret.slice(1))).revision, 2)
})
