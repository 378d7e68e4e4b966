import type { RuntimeBuild } from '../domain/runtime.ts'
import assert from 'node:assert/strict'
import { afterEach, test } from 'node:test'
import { AgentRig, catalogOf, fakeBuild, foldersAsArtifacts, versionOf } from '../../test/support/agent-rig.ts'
import type { FakeDriverOptions, FakeMeta } from '../../test/support/agent-rig.ts'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'

const folders: string[] = []
const rigs: AgentRig[] = []
afterEach(async () => {
  for (const rig of rigs.splice(0)) await rig.close()
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true })
})

/** A rig whose code is `bytes` of source. */
function open(bytes: number, options: FakeDriverOptions, build = fakeBuild): AgentRig {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'hearth-code-'))
  folders.push(folder)
  writeFileSync(path.join(folder, build.family === 'node' ? 'index.js' : 'main.py'), 'x'.repeat(bytes))
  const artifacts = foldersAsArtifacts(new Map([[versionOf().codeDigest, folder]]), folder)
  const rig = AgentRig.fake(options, { artifacts, runtimes: catalogOf(build) })
  rigs.push(rig)
  return rig
}

function packOf(name: string, content: string): Buffer {
  const head = Buffer.alloc(2)
  head.writeUInt16BE(Buffer.byteLength(name))
  const size = Buffer.alloc(4)
  size.writeUInt32BE(content.length)
  return Buffer.concat([head, Buffer.from(name), size, Buffer.from(content)])
}

const compiling =
  (answer: Buffer) =>
  (event: unknown, meta: FakeMeta): unknown =>
    meta.bind.purpose === 'compile' ? answer : { cacheRoot: meta.bind.cacheRoot }

test('deploy: compiles in a sandbox of its own, and Instances get the files', async () => {
  const rig = open(70_000, { handler: compiling(packOf('lib/index.cache', 'bytecode')) })
  const lines: string[] = []
  await rig.agent.deploy(versionOf(), { report: (line) => void lines.push(line) })
  assert.ok(lines.includes('Compiled 1 files.'), lines.join())
  assert.equal(rig.driver.alive.size, 0)
  const { body } = await rig.run(versionOf())
  const { cacheRoot } = JSON.parse(body.toString()) as { cacheRoot: string }
  assert.equal(readFileSync(path.join(cacheRoot, 'lib/index.cache'), 'utf8'), 'bytecode')
})

test('deploy: little code is not worth a sandbox', async () => {
  const rig = open(1_000, { handler: compiling(packOf('a', 'b')) })
  await rig.agent.deploy(versionOf())
  assert.equal(rig.driver.boots, 0)
})

test('deploy: any Python is, since its compiler stays in the memory of who used it', async () => {
  const python: RuntimeBuild = { ...fakeBuild, id: 'python3.13', family: 'python', digest: `sha256:${'b'.repeat(64)}` }
  const rig = open(10, { handler: compiling(packOf('main.pyc', 'bytecode')) }, python)
  const lines: string[] = []
  const version = versionOf({}, { runtimeId: python.id, runtimeDigest: python.digest })
  await rig.agent.deploy(version, { report: (line) => void lines.push(line) })
  assert.ok(lines.includes('Compiled 1 files.'), lines.join())
})

test('deploy: a hostile pack is refused, and the code runs without', async () => {
  const rig = open(70_000, { handler: compiling(packOf('../escape', 'x')) })
  const lines: string[] = []
  await rig.agent.deploy(versionOf(), { report: (line) => void lines.push(line) })
  assert.match(lines.join('\n'), /Not compiled ahead.*"\.\.\/escape" is not plain/)
  assert.deepEqual(JSON.parse((await rig.run(versionOf())).body.toString()), { cacheRoot: null })
})

test('deploy: a runtime that ends while compiling costs speed alone', async () => {
  const rig = open(70_000, { faults: { exitOnInvoke: { code: 1, signal: null, oom: false } } })
  const lines: string[] = []
  const deployed = rig.agent.deploy(versionOf(), { report: (line) => void lines.push(line) })
  for (let n = 0; n < 10; n++) await new Promise((resolve) => setTimeout(resolve, 5))
  await rig.advance(1_500)
  await deployed
  assert.match(lines.join('\n'), /Not compiled ahead/)
})

test('deploy: a compiler that hangs is ended after a minute', async () => {
  const rig = open(70_000, { faults: { hangOnInvoke: true } })
  const lines: string[] = []
  const deployed = rig.agent.deploy(versionOf(), { report: (line) => void lines.push(line) })
  for (let n = 0; n < 10; n++) await new Promise((resolve) => setTimeout(resolve, 5))
  await rig.advance(60_000)
  await deployed
  assert.match(lines.join('\n'), /took longer than 60 s/)
  assert.equal(rig.driver.alive.size, 0)
})

test('deploy: a sandbox that cannot be made fails the deploy', async () => {
  const rig = open(70_000, { faults: { failBoot: { step: 'mount', times: 1 } } })
  await assert.rejects(rig.agent.deploy(versionOf()), { code: 'driver_failed' })
})

test('start: an Instance that died in the pool is replaced without the caller noticing', async () => {
  const rig = open(1_000, { faults: { failBind: 'cgroup' } })
  const running = rig.begin(versionOf())
  rig.driver.faults.failBind = 'cgroup'
  const { result } = await running.done
  assert.equal(result.crashReason, 'init_error')
  assert.equal(rig.driver.boots, 2)
  delete rig.driver.faults.failBind
  assert.equal((await rig.run(versionOf())).result.outcome, 'succeeded')
})
