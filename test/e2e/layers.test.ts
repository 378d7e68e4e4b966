import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { after, before, test } from 'node:test'
import { Layout } from '../../src/artifact/layout.ts'
import type { Digest } from '../../src/domain/artifact.ts'
import { call, deployFiles, invoke, upload, zipOf, type Reply } from '../support/functions.ts'
import { startPlatform, type Platform } from '../support/platform.ts'
import { rawZip } from '../support/raw-zip.ts'
import { vmMissing } from '../support/vm-rig.ts'

/* Layers on the real platform: what functions find below /opt, in processes and in microVMs. */

let platform: Platform
before(async () => {
  platform = await startPlatform()
})
after(async () => platform.stop())

const publish = async (name: string, zip: Buffer, more: Record<string, unknown> = {}): Promise<Reply> =>
  call(platform, 'POST', `/v1/layers/${name}/versions`, { code: { artifact: await upload(platform, zip) }, ...more })

/** Its reference. */
async function published(name: string, files: Readonly<Record<string, string>>, more = {}): Promise<string> {
  const reply = await publish(name, await zipOf(files), more)
  assert.equal(reply.status, 201, reply.body.toString())
  return `${name}:${reply.json<{ number: number }>().number}`
}

const reader = `
const fs = require('fs')
exports.handler = async ({ files }) => files.map((file) => { try { return fs.readFileSync(file, 'utf8') } catch (error) { return error.code } })`

const deploy = async (name: string, layers: readonly string[], config: Record<string, unknown> = {}): Promise<void> =>
  deployFiles(platform, {
    name,
    runtime: 'node',
    handler: 'index.handler',
    files: { 'index.js': reader },
    config: { layers, ...config },
  })

const read = async (name: string, ...files: string[]): Promise<unknown> => {
  const reply = await invoke(platform, name, { files })
  assert.equal(reply.status, 200, reply.body.toString())
  return reply.json()
}

async function refused(reply: Promise<Reply> | Reply, field: string, message: RegExp): Promise<void> {
  const answer = await reply
  assert.equal(answer.status, 400, answer.body.toString())
  const { error } = answer.json<{ error: { field: string; message: string } }>()
  assert.equal(error.field, field)
  assert.match(error.message, message)
}

const missing = vmMissing()
for (const isolation of ['process', 'vm'] as const) {
  const skip = isolation === 'vm' && missing !== null ? missing : false
  const config = { isolation, timeoutMs: 60_000 }

  test(`layers in a ${isolation}: merged below /opt in their order, read-only`, { skip }, async () => {
    const below = await published('below', { 'lib/a': 'a of below', 'lib/b': 'b of below' })
    const above = await published('above', { 'lib/b': 'b of above', 'bin/c': 'c of above' })
    await deploy(`merged-${isolation}`, [below, above], config)
    const files = ['/opt/lib/a', '/opt/lib/b', '/opt/bin/c', '/opt/absent']
    assert.deepEqual(await read(`merged-${isolation}`, ...files), ['a of below', 'b of above', 'c of above', 'ENOENT'])
    await deploy(`reversed-${isolation}`, [above, below], config)
    assert.deepEqual(await read(`reversed-${isolation}`, '/opt/lib/b'), ['b of below'])
  })

  test(`layers in a ${isolation}: programs in bin are in PATH, and find libraries in lib`, { skip }, async () => {
    const script = '#!/bin/sh\necho "of the layer, libraries in $LD_LIBRARY_PATH"\n'
    const tools = await published('tools', { 'bin/layer-tool': script })
    const code = `const { execFileSync } = require('node:child_process')\nexports.handler = async () => execFileSync('layer-tool', { encoding: 'utf8' })`
    const common = { runtime: 'node', handler: 'index.handler', config: { ...config, layers: [tools] } }
    await deployFiles(platform, { name: `tools-${isolation}`, files: { 'index.js': code }, ...common })
    const said = (await invoke(platform, `tools-${isolation}`)).json<string>()
    assert.match(said, /^of the layer, libraries in \S*:\/var\/task\/lib:\/opt\/lib$/m)
  })

  test(`layers in a ${isolation}: Node and Python find their packages there`, { skip }, async () => {
    const packages = await published('packages', {
      'nodejs/node_modules/greet/index.js': 'exports.greet = () => "hello from the layer"',
      'python/greet.py': 'def greet():\n    return "hello from the layer"\n',
    })
    const common = { config: { ...config, layers: [packages] } }
    const node = { 'index.js': 'const { greet } = require("greet"); exports.handler = async () => greet()' }
    const python = { 'main.py': 'from greet import greet\ndef handler(event, context):\n    return greet()\n' }
    const names = [`node-${isolation}`, `python-${isolation}`] as const
    await deployFiles(platform, { name: names[0], runtime: 'node', handler: 'index.handler', files: node, ...common })
    await deployFiles(platform, {
      name: names[1],
      runtime: 'python',
      handler: 'main.handler',
      files: python,
      ...common,
    })
    for (const name of names) assert.equal((await invoke(platform, name)).body.toString(), '"hello from the layer"')
  })
}

test('layers: five at most, one version of each, and only what is there and fits the runtime', async () => {
  const python = await published('for-python', { 'python/x.py': '' }, { runtimes: ['python'] })
  const make = async (layers: readonly unknown[]): Promise<Reply> => {
    const code = { artifact: await upload(platform, await zipOf({ 'index.js': reader })) }
    return call(platform, 'POST', '/v1/functions', {
      name: 'no',
      runtime: 'node',
      handler: 'index.handler',
      code,
      layers,
    })
  }
  await refused(make(['a:1', 'b:1', 'c:1', 'd:1', 'e:1', 'f:1']), 'layers', /at most 5 layers/)
  await refused(make(['a:1', 'a:2']), 'layers', /one version of each layer/)
  await refused(make(['../a:1']), 'layers', /"\.\.\/a:1": must be NAME:NUMBER/)
  await refused(make(['absent:1']), 'layers', /"absent:1": must be a version of a layer of this project/)
  await refused(make([python]), 'layers', /a layer for node\d+; this one is for python/)
  await refused(publish('bad', await zipOf({ a: '' }), { runtimes: ['cobol'] }), 'runtimes', /"cobol"/)
  assert.equal((await call(platform, 'GET', '/v1/functions/no')).status, 404)
})

test('layers: hostile archives are refused when they are published, naming the entry', async () => {
  const link = rawZip([{ name: 'out', content: '/etc/passwd', mode: 0o120777 }])
  await refused(publish('hostile', link), 'code', /Cannot unpack entry "out": .*link/)
  const escape = rawZip([{ name: '../out', content: 'x' }])
  await refused(publish('hostile', escape), 'code', /leaves the archive/)
  const bomb = await zipOf({ zeros: Buffer.alloc(40_000_000) })
  await refused(publish('hostile', bomb), 'code', /ratio|times/)
  await refused(publish('hostile', Buffer.from('no zip')), 'code', /Cannot unpack the archive/)
  assert.equal((await call(platform, 'GET', '/v1/layers/hostile/versions')).status, 404)
})

test('layers: one that is deleted goes on in the versions that have it', async () => {
  const zip = await zipOf({ note: 'still here' })
  const reply = await publish('going', zip)
  const { digest } = reply.json<{ digest: Digest }>()
  await deploy('keeps', ['going:1'])
  assert.equal((await call(platform, 'DELETE', '/v1/layers/going/versions/1')).status, 204)
  assert.equal((await call(platform, 'GET', '/v1/layers/going/versions/1')).status, 404)
  assert.deepEqual(await read('keeps', '/opt/note'), ['still here'])
  const updated = await call(platform, 'PATCH', '/v1/functions/keeps', { memoryMib: 192 })
  assert.equal(updated.status, 200, updated.body.toString())
  assert.deepEqual(await read('keeps', '/opt/note'), ['still here'])
  assert.ok(existsSync(new Layout(platform.data).blob(digest)))
  const { stderr, code } = await platform.cli(['function', 'update', 'keeps', '--no-layers'])
  assert.equal(code, 0, stderr)
  assert.deepEqual(await read('keeps', '/opt/note'), ['ENOENT'])
  await refused(call(platform, 'PATCH', '/v1/functions/keeps', { layers: ['going:1'] }), 'layers', /"going:1"/)
})
