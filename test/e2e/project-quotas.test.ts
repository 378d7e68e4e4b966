import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { after, before, test } from 'node:test'
import type { ProjectStatus } from '@hearth/sdk'
import { call, deployFiles, invoke, nodeFunction, type Reply, type Target } from '../support/functions.ts'
import { startScripted, type ApiInProcess } from '../support/in-process.ts'
import { attemptResult, scriptedAgent, type ScriptedAgent } from '../support/scripted-agent.ts'
import { until } from '../support/until.ts'

/* Quotas of projects, from the API to the admission: everything but the agent is real. */

let folder: string
let api: ApiInProcess<ScriptedAgent>
/** Ends what runs, the first that came first. */
const running: (() => void)[] = []

async function start(): Promise<ApiInProcess<ScriptedAgent>> {
  const agent = scriptedAgent((_request, receive) => {
    receive({ type: 'started', instance: 'i-1', start: 'warm', coldCause: null })
    running.push(() => receive({ type: 'result', result: attemptResult() }))
  })
  return startScripted(agent, { folder })
}

before(async () => {
  folder = await mkdtemp(path.join(os.tmpdir(), 'hearth-quotas-'))
  api = await start()
})
after(async () => {
  await api.close()
  await rm(folder, { recursive: true, force: true })
})

const status = async (project = 'default'): Promise<ProjectStatus> =>
  (await call(api, 'GET', `/v1/projects/${project}`)).json<ProjectStatus>()
const set = async (quotas: Partial<ProjectStatus['quotas']>, project = 'default'): Promise<Reply> =>
  call(api, 'PATCH', `/v1/projects/${project}`, { quotas })
const untilUsed = async (usage: ProjectStatus['usage']): Promise<void> =>
  until(
    async () => {
      const found = JSON.stringify((await status()).usage)
      return found === JSON.stringify(usage) ? true : found
    },
    { what: JSON.stringify(usage) },
  )

test('quotas.concurrencyMax: holds at once for what waits and what runs, and the refusal names it', async () => {
  await deployFiles(api, nodeFunction('slow', '//', { concurrency: 5 }))
  assert.deepEqual((await set({ concurrencyMax: 1 })).json<ProjectStatus>().quotas, {
    functionsMax: 10_000,
    concurrencyMax: 1,
  })
  const [first, second] = [invoke(api, 'slow'), invoke(api, 'slow')]
  await untilUsed({ functions: 1, running: 1, queued: 1 })
  assert.deepEqual((await set({ concurrencyMax: 2 })).json<ProjectStatus>().usage, {
    functions: 1,
    running: 2,
    queued: 0,
  })
  assert.deepEqual((await set({ concurrencyMax: 1 })).json<ProjectStatus>().usage.running, 2)
  const waiting = Array.from({ length: 100 }, async () => invoke(api, 'slow'))
  await untilUsed({ functions: 1, running: 2, queued: 100 })
  const refused = await invoke(api, 'slow')
  assert.deepEqual([refused.status, refused.headers.get('hearth-overload')], [429, 'project-concurrency;queue_full'])
  assert.match(
    refused.json<{ error: { message: string } }>().error.message,
    /^Project "default" runs its maximum of 1 invocations at a time \(quota concurrencyMax\).*: try again in \d+ s\. .*"hearth project update default --max-concurrency N"/,
  )
  // One of the two that run is over the quota: its slot goes to nobody.
  running.shift()?.()
  assert.equal((await first).status, 200)
  assert.deepEqual((await status()).usage, { functions: 1, running: 1, queued: 100 })
  await set({ concurrencyMax: 1_000 })
  let left = 101
  while (left > 0) {
    await until(() => running.length > 0 || 'nothing runs', { what: 'an invocation' })
    for (const end of running.splice(0)) {
      end()
      left--
    }
  }
  assert.deepEqual(new Set((await Promise.all([second, ...waiting])).map((reply) => reply.status)), new Set([200]))
})

test("a refusal by a function's own concurrency names that", async () => {
  await deployFiles(api, nodeFunction('narrow', '//', { concurrency: 1 }))
  const accepted = Array.from({ length: 101 }, async () => invoke(api, 'narrow'))
  await untilUsed({ functions: 2, running: 1, queued: 100 })
  const refused = await invoke(api, 'narrow')
  assert.deepEqual([refused.status, refused.headers.get('hearth-overload')], [429, 'function-concurrency;queue_full'])
  assert.match(
    refused.json<{ error: { message: string } }>().error.message,
    /^Function "narrow" runs its maximum of 1 invocations at a time \(concurrency\).*"hearth function update narrow --concurrency N"/,
  )
  assert.equal((await call(api, 'DELETE', '/v1/functions/narrow')).status, 204)
  running.shift()?.()
  assert.deepEqual(
    (await Promise.all(accepted))
      .map((reply) => reply.status)
      .toSorted((a, b) => a - b)
      .slice(0, 2),
    [200, 404],
  )
})

test('quotas.functionsMax: a function more is refused before its code is looked at, with quota and fix; updates go on', async () => {
  const made = await call(api, 'POST', '/v1/projects', { name: 'small', quotas: { functionsMax: 1 } })
  assert.deepEqual(made.json<ProjectStatus>().quotas, { functionsMax: 1, concurrencyMax: 1_000 })
  const key = { name: 'small', scopes: ['admin'], project: 'small' }
  const { token } = (await call(api, 'POST', '/v1/keys', key)).json<{ token: string }>()
  const small: Target = { url: api.url, apiKey: token }
  await deployFiles(small, nodeFunction('one', '//'))
  const two = { name: 'two', runtime: 'node', handler: 'i.h', code: { artifact: `sha256:${'0'.repeat(64)}` } }
  const refused = (await call(small, 'POST', '/v1/functions', two)).json()
  assert.deepEqual(refused['error'], {
    code: 'capacity',
    message:
      'Cannot create function "two": project "small" already holds its maximum of 1 functions (quota functionsMax). Delete one, or let an administrator raise it: "hearth project update small --max-functions N".',
    retryable: false,
  })
  assert.equal((await call(small, 'PATCH', '/v1/functions/one', { memoryMib: 128 })).status, 200)
  // Its own administrator sees the quotas and sets none; other projects are closed to it, whether or not they are there.
  assert.equal((await call(small, 'GET', '/v1/projects/small')).json<ProjectStatus>().usage.functions, 1)
  for (const project of ['small', 'default', 'absent'])
    assert.equal((await call(small, 'PATCH', `/v1/projects/${project}`, { quotas: { functionsMax: 2 } })).status, 403)
  for (const project of ['default', 'absent'])
    assert.equal((await call(small, 'GET', `/v1/projects/${project}`)).status, 403)
  assert.equal((await set({ functionsMax: 2 }, 'small')).status, 200)
  await deployFiles(small, nodeFunction('two', '//'))
})

test('quotas: ranges, unknown projects and nothing at all are refused by name; what was set is audited and outlives the platform', async () => {
  for (const [quotas, field] of [
    [{ functionsMax: -1 }, 'quotas.functionsMax'],
    [{ functionsMax: 100_001 }, 'quotas.functionsMax'],
    [{ concurrencyMax: 0 }, 'quotas.concurrencyMax'],
    [{ concurrencyMax: 1.5 }, 'quotas.concurrencyMax'],
    [{ memoryMax: 1 }, 'quotas.memoryMax'],
    [{}, 'quotas'],
  ] as const)
    for (const reply of [
      await call(api, 'PATCH', '/v1/projects/default', { quotas }),
      ...(field === 'quotas' ? [] : [await call(api, 'POST', '/v1/projects', { name: 'never', quotas })]),
    ])
      assert.deepEqual(
        [reply.status, reply.json<{ error: { field: string } }>().error.field],
        [400, field],
        reply.body.toString(),
      )
  assert.equal((await set({ functionsMax: 1 }, 'absent')).status, 404)
  assert.equal((await call(api, 'GET', '/v1/projects/never')).status, 404)
  assert.equal((await set({ functionsMax: 7 })).status, 200)
  const { items } = (await call(api, 'GET', '/v1/audit?limit=1')).json<{ items: Record<string, unknown>[] }>()
  const { action, target, detail } = items[0] ?? {}
  assert.deepEqual([action, target, detail], ['project.update', 'default', { functionsMax: 7 }])
  await api.close()
  api = await start()
  assert.deepEqual((await status()).quotas, { functionsMax: 7, concurrencyMax: 1_000 })
})
