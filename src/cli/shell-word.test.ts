import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { test } from 'node:test'
import { shellPath, shellWord } from './shell-word.ts'

test('shellWord: a shell reads back what was meant; plain words stay bare', () => {
  for (const text of ['a b', "it's", '$(id)', '\u00dcn\u00ef code', 'a\nb', '', '*'])
    assert.equal(execFileSync('sh', ['-c', `printf %s ${shellWord(text)}`]).toString(), text)
  assert.equal(shellWord('./hello'), './hello')
  assert.equal(shellPath('-x y'), "'./-x y'")
})
