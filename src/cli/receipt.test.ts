import assert from 'node:assert/strict'
import { test } from 'node:test'
import { renderReceipt, type ReceiptView } from './receipt.ts'

const receipt: ReceiptView = {
  id: 'i-1',
  function: 'thumb',
  version: 3,
  state: 'done',
  outcome: 'succeeded',
  effect: 'completed',
  createdAt: 0,
  endedAt: 101,
  durationMs: 80,
  start: 'pool',
  coldCause: 'first',
  crashReason: null,
  memoryPeakMib: 42,
  attempts: [{ node: 'n', instance: 'i-a', driver: 'process' }],
  phases: [
    { phase: 'admit', startMs: 0, durationMs: 0.05, source: 'none', bytes: 0 },
    { phase: 'code_load', startMs: 10, durationMs: 10, source: 'node_cache', bytes: 2048 },
  ],
  error: null,
}
const plain = { columns: 86, paint: (_style: unknown, text: string) => text }

test('renderReceipt: facts, then a bar a phase on one time axis, the handler last', () => {
  const text = renderReceipt(receipt, plain)
  assert.match(text, /^outcome {5}succeeded$/m)
  assert.match(text, /^start {7}pool, first$/m)
  const bars = text.split('\n').slice(-3)
  assert.match(bars[0] ?? '', /^admit {6}\u258f/)
  assert.match(bars[1] ?? '', /^code_load {6} {0,2}\u2588{4} +10\.0 ms {2}node_cache 2\.0 KiB$/)
  assert.match(bars[2] ?? '', /^handler {12}\u2588{30,} +80\.0 ms$/)
})

test('renderReceipt: a running invocation and one that failed show what is known', () => {
  assert.match(
    renderReceipt({ ...receipt, state: 'running', outcome: null, endedAt: null, phases: [], durationMs: 0 }, plain),
    /^outcome {5}running$/m,
  )
  const failed = {
    ...receipt,
    outcome: 'crashed',
    crashReason: 'oom',
    error: { errorType: 'Runtime.OutOfMemory', errorMessage: 'killed' },
  }
  const text = renderReceipt(failed, plain)
  assert.match(text, /crashed \(oom\)/)
  assert.match(text, /Runtime\.OutOfMemory: killed/)
})
