import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseMark, parseSnapshot } from './snapshot-file.ts'

const snapshot = {
  ...{ id: 's-1', driver: 'qemu', kind: 'runtime', key: { vmm: 'qemu 7.2.22' }, folder: '/before' },
  ...{ memoryMib: 128, bytes: 1, createdAt: 2 },
}
const mark = { owner: null, runtime: 'node24', build: `sha256:${'a'.repeat(64)}`, files: { memory: 7 } }

test('parseSnapshot and parseMark give back what was written, in the folder where it lies now', () => {
  assert.deepEqual(parseSnapshot(JSON.stringify(snapshot), '/now'), { ...snapshot, folder: '/now' })
  assert.deepEqual(parseMark(JSON.stringify(mark)), mark)
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

test('parseMark refuses a build that is no digest, and what is no object', () => {
  assert.throws(() => parseMark(JSON.stringify({ ...mark, build: 'sha256:../x' })), /"build" must be a digest/)
  assert.throws(() => parseMark('null'), { code: 'invalid' })
  assert.throws(
    () => parseMark(JSON.stringify({ ...mark, files: { memory: 'all' } })),
    /"memory" must be a whole number/,
  )
})
