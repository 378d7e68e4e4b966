import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { python, pythonMissing as skip } from '../support/runtimes.ts'

test('hearth_wire.py reads, writes and refuses what the golden vectors say', { skip }, () => {
  const vectors = path.join(import.meta.dirname, '../../test/wire/vectors.json')
  const { valid, invalid }: { valid: unknown[]; invalid: unknown[] } = JSON.parse(readFileSync(vectors, 'utf8'))
  const printed = execFileSync(python, ['-B', path.join(import.meta.dirname, 'wire_vectors.py'), vectors], {
    encoding: 'utf8',
  })
  assert.equal(Number(printed), valid.length + invalid.length)
})
