import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createOutput, printable } from './output.ts'

test('printable: spells out what would steer a terminal or turn the order of letters, and nothing else', () => {
  assert.equal(printable('a/\u001b[31m\n\u009b\u202e\u007fb'), 'a/\\u001b[31m\\u000a\\u009b\\u202e\\u007fb')
  assert.equal(printable('2026/\u00FCber uns \u{1F600}.txt'), '2026/\u00FCber uns \u{1F600}.txt')
})

test('output.json: no control of a terminal is in it, and it means the same', () => {
  const written: string[] = []
  const sink = { write: (text: string | Uint8Array) => written.push(String(text)) > 0 }
  const output = createOutput({ stdout: sink, stderr: sink, env: {}, isJson: true })
  const value = { key: 'a\u001b\u007f\u009bb' }
  output.json(value, { line: true })
  assert.equal(written.join(''), '{"key":"a\\u001b\\u007f\\u009bb"}\n')
  assert.deepEqual(JSON.parse(written.join('')), value)
})
