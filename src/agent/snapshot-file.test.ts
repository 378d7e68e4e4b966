import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseSnapshot, parseSubject } from './snapshot-file.ts'

const snapshot = {
  ...{ id: 's-1', driver: 'qemu', kind: 'runtime', key: { vmm: 'qemu 7.2.22' }, folder: '/before' },
  ...{ memoryMib: 128, bytes: 1, createdAt: 2 },
}
const subject = { owner: null, runtime: 'node24', build: `sha256:${'a'.repeat(64)}` }

test('parseSnapshot and parseSubject give back what was written, in the folder where it lies now', () => {
  assert.deepEqual(parseSnapshot(JSON.stringify(snapshot), '/now'), { ...snapshot, folder: '/now' })
  assert.deepEqual(parseSubject(JSON.stringify(subject)), subject)
})

for (const [field, value] of [
  ['id', 1],
  ['kind', 'other'],
  ['key', { vmm: 7 }],
  ['key', ['qemu']],
  ['memoryMib', '128'],
  ['bytes', -1],
] as const)
  test(`parseSnapshot refuses ${field} ${JSON.stringify(value)}`, () => {
    assert.throws(() => parseSnapshot(JSON.stringify({ ...snapshot, [field]: value }), '/now'), { code: 'invalid' })
  })

test('parseSubject refuses a build that is no digest, and what is no object', () => {
  assert.throws(() => parseSubject(JSON.stringify({ ...subject, build: 'sha256:../x' })), /"build" must be a digest/)
  assert.throws(() => parseSubject('null'), { code: 'invalid' })
})
