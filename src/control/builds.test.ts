import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Built } from '../domain/build.ts'
import type { Caller } from '../domain/control.ts'
import { silentLogger } from '../domain/logger.ts'
import { buildsApi } from './builds.ts'

const caller: Caller = { actor: 'k', project: 'default', scopes: ['functions:write'] }
const watch = { report: () => {}, signal: new AbortController().signal }
const input = { source: `sha256:${'0'.repeat(64)}`, runtime: 'go', handler: '' } as const
const blobs = {
  holding: async <T>(_digests: unknown, work: () => Promise<T>): Promise<T> => work(),
  uploaded: () => {},
}
const parts = { blobs, arch: 'x86_64', logger: silentLogger } as const

test('builds.build says why where nothing is built', async () => {
  await assert.rejects(buildsApi(parts).build(caller, input, watch), /demands a microVM/)
})

test('builds.build refuses a third at a time, and takes one when another ended', async () => {
  const waiting = [Promise.withResolvers<Built>(), Promise.withResolvers<Built>(), Promise.withResolvers<Built>()]
  let begun = 0
  const api = buildsApi({ ...parts, builder: { build: async () => waiting[begun++]?.promise ?? assert.fail() } })
  const ask = async (): Promise<unknown> => api.build(caller, input, watch).catch((error: unknown) => String(error))
  const first = ask()
  void ask()
  assert.match(String(await ask()), /2 builds are under way/)
  waiting[0]?.reject(new Error('does not compile'))
  assert.match(String(await first), /does not compile/)
  void ask()
  assert.equal(begun, 3)
})

test('builds.build needs the scope to deploy', async () => {
  await assert.rejects(buildsApi(parts).build({ ...caller, scopes: ['functions:read'] }, input, watch), {
    code: 'forbidden',
  })
})
