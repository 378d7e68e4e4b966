import assert from 'node:assert/strict'
import { test } from 'node:test'
import { troublesIn } from './metrics.ts'

test('troublesIn: what counts trouble in the last whole line, and nothing from what is no metrics', () => {
  const early = { utc_timestamp_ms: 1, seccomp: { num_faults: 0 } }
  const late = {
    ...{ utc_timestamp_ms: 2, api_server: { process_startup_time_us: 900 }, seccomp: { num_faults: 1 } },
    ...{ vcpu: { exit_io_in: 7, failures: 2 }, block_root: { rate_limiter_throttled_events: 3, no_avail_buffer: 1 } },
  }
  const text = `${JSON.stringify(early)}\n${JSON.stringify(late)}\n{"half":`
  assert.deepEqual(troublesIn(text), [
    'seccomp.num_faults=1',
    'vcpu.failures=2',
    'block_root.rate_limiter_throttled_events=3',
  ])
  for (const none of ['', 'text', '{}', '{"vcpu": null}', '{"vcpu": {"failures": "many"}}', '[1]\n{x}'])
    assert.deepEqual(troublesIn(none), [])
  const flood = JSON.stringify({ a: Object.fromEntries(Array.from({ length: 999 }, (_, n) => [`fail${n}`, 1])) })
  assert.equal(troublesIn(flood).length, 12)
})
