import assert from 'node:assert/strict'
import { test } from 'node:test'
import { functionNameOf } from './function-name.ts'

test('functionNameOf: what names may hold, never like a flag, never empty, at most 64', () => {
  assert.equal(functionNameOf('/tmp/hello_2'), 'hello_2')
  assert.equal(functionNameOf('/tmp/a b'), 'a-b')
  assert.equal(functionNameOf('/tmp/\u00dcn\u00ef code'), 'n-code')
  assert.equal(functionNameOf('/tmp/--help'), 'help')
  assert.equal(functionNameOf('/tmp/\u65e5\u672c'), 'function')
  assert.equal(functionNameOf(`/tmp/${'x'.repeat(80)}`).length, 64)
})
