import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { test } from 'node:test'
import { commands } from './commands.ts'
import { complete, completionScripts } from './completion.ts'

function texts(...words: string[]): readonly string[] | string {
  const found = complete(commands, words)
  return typeof found === 'string' ? found : found.map(({ text }) => text)
}

test('complete: words of commands, flags, values, and kinds of names', () => {
  assert.deepEqual(texts('func'), ['function'])
  assert.deepEqual(texts('function', 'ro'), ['rollback'])
  assert.deepEqual(texts('function', 'rollback', '--t'), ['--to'])
  assert.deepEqual(texts('function', 'create', '--reuse', ''), ['sequential', 'never'])
  assert.equal(texts('function', 'create', '--code', './ex'), 'file')
  assert.equal(texts('function', 'invoke', 'he'), 'function')
  assert.equal(texts('function', 'invoke', '--data', '{}', ''), 'function')
  assert.deepEqual(texts('function', 'invoke', 'hello', ''), [])
  assert.equal(texts('dev', ''), 'folder')
  assert.equal(texts('project', 'update', ''), 'project')
  assert.equal(texts('function', 'list', '--project', ''), 'project')
  assert.deepEqual(texts('project', 'update', 'team', '--max'), ['--max-functions', '--max-concurrency'])
  assert.deepEqual(texts('nonsense', ''), [])
})

test('completionScripts: each shell that is here accepts its script', () => {
  for (const [shell, script] of Object.entries(completionScripts)) {
    const { status, error } = spawnSync(shell, ['-n'], { input: script })
    if (error === undefined) assert.equal(status, 0, shell)
  }
})
