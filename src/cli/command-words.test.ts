import assert from 'node:assert/strict'
import { test } from 'node:test'
import { commandWords } from './command-words.ts'

test('commandWords: words, quotes and backslashes as in a shell; a JSON list as it is', () => {
  for (const [text, words] of [
    ['node server.js', ['node', 'server.js']],
    [`sh -c 'echo "hi  there"' ''`, ['sh', '-c', 'echo "hi  there"', '']],
    ['a"b \\"c"d e\\ f', ['ab "cd', 'e f']],
    ['["x y", ""]', ['x y', '']],
    ['', []],
  ] as const)
    assert.deepEqual(commandWords(text), words, text)
  assert.throws(() => commandWords('[1]'), /must be JSON texts/)
  for (const text of [`node "a`, `sh -c 'x`, 'a\\', `a "b" 'c`])
    assert.throws(() => commandWords(text), /has no end/, text)
})
