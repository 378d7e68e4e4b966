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
  release: async () => {},
}
const entries: unknown[] = []
const audit = {
  add: async (project: string, entry: unknown) => void entries.push([project, entry]),
  list: async () => ({ items: [], nextCursor: null }),
}
const parts = { store: { audit }, blobs, arch: 'x86_64', logger: silentLogger } as const

test('builds.build says why where nothing is built', async () => {
  await assert.rejects(buildsApi(parts).build(caller, input, watch), /demands a microVM/)
})

test('builds.build: two at a time, then whose project builds least, told how many came before; who leaves makes room', async () => {
  const begun: { project: string; end: () => void }[] = []
  const build = async ({ project }: { project: string }): Promise<Built> =>
    new Promise((_, reject) => begun.push({ project, end: () => reject(new Error('does not compile')) }))
  const api = buildsApi({ ...parts, builder: { build } })
  const ask = (project: string, signal = watch.signal): { lines: string[]; said: Promise<unknown> } => {
    const lines: string[] = []
    const of = { report: (line: string) => void lines.push(line), signal }
    return { lines, said: api.build({ ...caller, project }, input, of).catch((error: unknown) => String(error)) }
  }
  const projects = (): string[] => begun.map(({ project }) => project)
  const first = ask('busy')
  ask('busy')
  const third = ask('busy')
  const leaving = new AbortController()
  const left = ask('busy', leaving.signal)
  const other = ask('other')
  assert.deepEqual(projects(), ['busy', 'busy'])
  assert.deepEqual(
    [third.lines, other.lines],
    [['Waits for other builds, 0 before it.'], ['Waits for other builds, 2 before it.']],
  )
  leaving.abort()
  assert.match(String(await left.said), /given up before it began/)
  begun[0]?.end()
  assert.match(String(await first.said), /does not compile/)
  assert.deepEqual(projects(), ['busy', 'busy', 'other'])
  begun[1]?.end()
  begun[2]?.end()
  await other.said
  assert.deepEqual(projects(), ['busy', 'busy', 'other', 'busy'])
  begun[3]?.end()
  await third.said
})

test('builds.build refuses who comes when many of the same project wait', async () => {
  const api = buildsApi({ ...parts, builder: { build: async () => new Promise<never>(() => {}) } })
  for (let n = 0; n < 10; n++) void api.build(caller, input, watch)
  await assert.rejects(api.build(caller, input, watch), { code: 'capacity', message: /8 builds of this project wait/ })
  const lines: string[] = []
  void api.build({ ...caller, project: 'other' }, input, { ...watch, report: (line) => void lines.push(line) })
  await new Promise(setImmediate)
  assert.deepEqual(lines, ['Waits for other builds, 8 before it.'])
})

test('builds.build: what was built is in the audit log, with what it came of; what failed is not', async () => {
  const digest = `sha256:${'1'.repeat(64)}` as const
  const provenance = {
    source: input.source,
    toolchain: 'go 1.26.8',
    lock: null,
    output: digest,
    program: 'bootstrap',
    arch: 'x86_64',
  } as const
  const build = async (): Promise<Built> => ({ artifact: { digest, bytes: 7 }, provenance })
  await buildsApi({ ...parts, builder: { build } }).build(caller, input, watch)
  const detail = { source: input.source, runtime: 'go', arch: 'x86_64', bytes: 7 }
  assert.deepEqual(entries, [['default', { actor: 'k', action: 'artifact.build', target: digest, detail }]])
})

test('builds.build needs the scope to deploy', async () => {
  await assert.rejects(buildsApi(parts).build({ ...caller, scopes: ['functions:read'] }, input, watch), {
    code: 'forbidden',
  })
})
