import type { Receipt } from '../domain/invocation.ts'
import { decodeLine, encodeLine } from './receipt-line.ts'
import assert from 'node:assert/strict'
import { test } from 'node:test'

const full: Receipt = {
  id: '0198c2a0-1234-7abc-8def-000000000001',
  project: 'p',
  function: 'f',
  version: 3,
  state: 'done',
  outcome: 'crashed',
  effect: 'may_have_committed',
  createdAt: 1_763_700_000_000,
  deadline: 1_763_700_030_000,
  endedAt: 1_763_700_000_123,
  attempts: [
    {
      node: 'local',
      instance: 'i-1',
      driver: 'process',
      vmm: null,
      snapshot: null,
      arch: 'x86_64',
      startedAt: 1_763_700_000_001,
      endedAt: 1_763_700_000_050,
      outcome: 'crashed',
    },
    {
      node: 'other',
      instance: 'i-2',
      driver: 'qemu',
      vmm: 'qemu 7.2.22 (tcg)',
      snapshot: 'runtime',
      arch: 'arm64',
      startedAt: 1_763_700_000_051,
      endedAt: 1_763_700_000_122,
      outcome: 'timed_out',
    },
  ],
  phases: [
    { phase: 'admit', startMs: 0, durationMs: 0.012, source: 'none', bytes: 0 },
    { phase: 'code_fetch', startMs: 0.05, durationMs: 1.234, source: 'peer', bytes: 77 },
  ],
  durationMs: 1.235,
  start: 'snapshot',
  coldCause: 'scaled',
  crashReason: 'oom',
  memoryPeakMib: 34.5,
  bytesFetched: 1,
  ephemeralBytesPeak: 2,
  storageOps: 3,
  requestBytes: 4,
  responseBytes: 5,
  error: { errorType: 'Error', errorMessage: 'line\nbreak "quoted"', stackTrace: ['a', 'b'] },
}

const empty: Receipt = {
  ...full,
  state: 'queued',
  outcome: null,
  effect: 'never_started',
  endedAt: null,
  attempts: [],
  phases: [],
  start: null,
  coldCause: null,
  crashReason: null,
  error: null,
}

test('encodeLine and decodeLine give every field of a receipt back, in one line', () => {
  const line = encodeLine([full, empty])
  assert.ok(!line.includes('\n'))
  assert.deepEqual(decodeLine(line), [full, empty])
})

test('encodeLine keeps times to the microsecond', () => {
  const [receipt] = decodeLine(encodeLine([{ ...full, durationMs: 1.23456789 }]))
  assert.equal(receipt?.durationMs, 1.235)
})

test('decodeLine throws on a torn line', () => {
  assert.throws(() => decodeLine(encodeLine([full]).slice(0, -5)), SyntaxError)
})
