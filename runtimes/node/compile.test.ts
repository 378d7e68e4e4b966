import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { nodeHarness } from '../support/runtimes.ts'
import { codeFolder } from '../support/subject.ts'
import { unpackFiles } from '../support/file-pack.ts'

const { spawn } = nodeHarness()

describe('Node runtime: compile', () => {
  const functions = Array.from(
    { length: 3_000 },
    (_, n) => `function f${n}(a) { const b = a + ${n}; return b * 2 }`,
  ).join('\n')
  const files = {
    'index.js': `#!/usr/bin/env node\nconst big = require('./lib/big.js')\nexports.handler = async (event) => ({ value: big.run(event.n), late: (await import('./late.mjs')).default, main: require('./lib/small.js') })`,
    'late.mjs': 'export default "late"',
    'lib/small.js': 'module.exports = "small"',
    'lib/big.js': `${functions}\nexports.run = (n) => f7(n)\n`,
    'unreached.js': `${functions}\n`,
    'module.mjs': `${functions}\nexport default 1\n`,
  }

  async function compile(code: string): Promise<Map<string, Buffer>> {
    const compiler = spawn()
    await compiler.bind(code, 'index.handler', { purpose: 'compile' })
    const answer = await compiler.call({}, { kind: 'compile' })
    assert.equal(answer.error, null)
    return unpackFiles(answer.body)
  }

  test('the pack holds bytecode of what was loaded and of large files beside it, and a start uses it', async () => {
    const code = codeFolder(files)
    const pack = await compile(code)
    assert.deepEqual([...pack.keys()].sort(), ['lib/big.js.v8cache', 'unreached.js.v8cache'])
    const cacheRoot = codeFolder(Object.fromEntries(pack))
    const subject = spawn()
    await subject.bind(code, 'index.handler', { cacheRoot })
    assert.deepEqual(await subject.json({ n: 1 }), { value: 16, late: 'late', main: 'small' })
  })

  test('code that does not load is compiled as far as it goes; a cache that V8 refuses is ignored', async () => {
    const code = codeFolder({ ...files, 'index.js': 'throw new Error("not here")' })
    const pack = await compile(code)
    assert.deepEqual([...pack.keys()].sort(), ['lib/big.js.v8cache', 'unreached.js.v8cache'])
    const cacheRoot = codeFolder({ 'lib/big.js.v8cache': Buffer.alloc(1_000) })
    const subject = spawn()
    await subject.bind(codeFolder(files), 'index.handler', { cacheRoot })
    assert.deepEqual(await subject.json({ n: 1 }), { value: 16, late: 'late', main: 'small' })
  })
})
