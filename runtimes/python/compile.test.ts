import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { describe, test } from 'node:test'
import { python, pythonHarness, pythonMissing as skip } from '../support/runtimes.ts'
import { codeFolder } from '../support/subject.ts'
import { unpackFiles } from '../support/file-pack.ts'

const { spawn } = pythonHarness()

describe('Python runtime: compile', { skip }, () => {
  const files = {
    'main.py':
      'from pkg.sub import value\nimport os\nassert os.path.exists(__file__)\ndef handler(e, c): return [value, __file__]',
    'pkg/__init__.py': '',
    'pkg/sub.py': 'value = "from source"',
    'broken.py': 'def (:',
    'text.txt': 'not code',
  }

  test('the pack mirrors PYTHONPYCACHEPREFIX, leaves out what does not compile, and a start uses it', async () => {
    const code = codeFolder(files)
    const compiler = spawn()
    await compiler.bind(code, 'main.handler', { purpose: 'compile' })
    const answer = await compiler.call({}, { kind: 'compile' })
    assert.equal(answer.error, null)
    const pack = unpackFiles(answer.body)
    const tag = String(execFileSync(python, ['-c', 'import sys; print(sys.implementation.cache_tag)'])).trim()
    const at = code.slice(1)
    assert.deepEqual(
      [...pack.keys()],
      [`${at}/main.${tag}.pyc`, `${at}/pkg/__init__.${tag}.pyc`, `${at}/pkg/sub.${tag}.pyc`],
    )
    assert.match(compiler.logged(), /broken\.py does not compile/)
    // Other words of the same length in the cache show that it is read.
    const changed = [...pack].map(([name, bytes]): [string, Buffer] => [
      name,
      Buffer.from(bytes.toString('latin1').replace('from source', 'from  cache'), 'latin1'),
    ])
    const subject = spawn()
    await subject.bind(code, 'main.handler', { cacheRoot: codeFolder(Object.fromEntries(changed)) })
    assert.deepEqual(await subject.json(), ['from  cache', `${code}/main.py`])
  })

  test('a cache of another Python, or a damaged one, is ignored', async () => {
    const code = codeFolder(files)
    const compiler = spawn()
    await compiler.bind(code, 'main.handler', { purpose: 'compile' })
    const pack = unpackFiles((await compiler.call({}, { kind: 'compile' })).body)
    for (const damage of [
      (bytes: Buffer) => Buffer.concat([Buffer.from('abcd'), bytes.subarray(4)]),
      (bytes: Buffer) => bytes.subarray(0, 20),
    ]) {
      const cacheRoot = codeFolder(Object.fromEntries([...pack].map(([name, bytes]) => [name, damage(bytes)])))
      const subject = spawn()
      await subject.bind(code, 'main.handler', { cacheRoot })
      assert.deepEqual(await subject.json(), ['from source', `${code}/main.py`])
    }
  })
})
