import assert from 'node:assert/strict'
import { after, before, beforeEach, test } from 'node:test'
import type { AttemptResult } from '../../src/domain/agent.ts'
import { crashReasons, type CrashReason } from '../../src/domain/invocation.ts'
import { limits } from '../../src/domain/limits.ts'
import { call, deployFiles, invoke } from '../support/functions.ts'
import { startScripted, type ApiInProcess } from '../support/in-process.ts'
import { attemptResult, echo, type Script, type ScriptedAgent } from '../support/scripted-agent.ts'

/* docs/reference/contracts.md, "Invoke": each outcome with its status, every reply header and its body, over the real server. The agent
 * does what a script says. */

let api: ApiInProcess<ScriptedAgent>
before(async () => {
  api = await startScripted()
  const files = { 'index.js': '//' }
  await deployFiles(api, { name: 'fn', runtime: 'node', handler: 'index.handler', files })
  const config = { concurrency: 1 }
  await deployFiles(api, { name: 'narrow', runtime: 'node', handler: 'index.handler', files, config })
})
after(async () => api.close())
beforeEach(() => {
  api.agent.script = echo
})

/** Ends at once with `changes` to a good result. */
function ending(changes: Partial<AttemptResult>): Script {
  return (_request, receive) => {
    receive({ type: 'result', result: attemptResult({ phases, ...changes }) })
  }
}

const phases = [
  { phase: 'code_load', startMs: 1, durationMs: 2.5, source: 'none', bytes: 0 },
] as const satisfies AttemptResult['phases']
const userError = { errorType: 'TypeError', errorMessage: 'not today', stackTrace: ['at handler'] }
const platformError = { errorType: 'Runtime.Something', errorMessage: 'It ended.', stackTrace: [] }

interface Row {
  readonly title: string
  readonly changes: Partial<AttemptResult>
  readonly status: number
  /** Headers beside the ones that every reply has. */
  readonly headers: Readonly<Record<string, string>>
  readonly body: unknown
}

const ours = (code: string, error: typeof platformError, retryable: boolean) => ({
  code,
  message: error.errorMessage,
  retryable,
})

const rows: readonly Row[] = [
  {
    title: 'failed: the function threw',
    changes: { outcome: 'failed', error: userError },
    status: 200,
    headers: { 'hearth-outcome': 'failed', 'hearth-effect': 'completed', 'hearth-function-error': 'TypeError' },
    body: userError,
  },
  {
    title: 'failed: the response is over the limit',
    changes: { outcome: 'failed', error: { ...platformError, errorType: 'Function.ResponseSizeTooLarge' } },
    status: 502,
    headers: { 'hearth-outcome': 'failed', 'hearth-function-error': 'Function.ResponseSizeTooLarge' },
    body: { ...platformError, errorType: 'Function.ResponseSizeTooLarge' },
  },
  {
    title: 'timed_out',
    changes: { outcome: 'timed_out', effect: 'may_have_committed', error: platformError },
    status: 504,
    headers: { 'hearth-outcome': 'timed_out', 'hearth-effect': 'may_have_committed' },
    body: { error: ours('timeout', platformError, false), ...platformError },
  },
  {
    title: 'cancelled',
    changes: { outcome: 'cancelled', effect: 'may_have_committed', error: platformError },
    status: 499,
    headers: { 'hearth-outcome': 'cancelled', 'hearth-effect': 'may_have_committed' },
    body: { error: ours('guest_failed', platformError, false), ...platformError },
  },
  {
    title: 'expired at the node',
    changes: { outcome: 'expired', effect: 'never_started', error: platformError, start: null },
    status: 503,
    headers: { 'hearth-outcome': 'expired', 'hearth-effect': 'never_started' },
    body: { error: ours('timeout', platformError, true), ...platformError },
  },
  ...crashReasons.map((crashReason: CrashReason): Row => {
    const effect = crashReason.startsWith('init') ? 'never_started' : 'may_have_committed'
    return {
      title: `crashed: ${crashReason}`,
      changes: { outcome: 'crashed', effect, crashReason, error: platformError },
      status: 502,
      headers: { 'hearth-outcome': 'crashed', 'hearth-effect': effect },
      body: { error: ours('guest_failed', platformError, crashReason === 'init_timeout'), ...platformError },
    }
  }),
  {
    title: 'crashed: init_error of the platform',
    changes: {
      outcome: 'crashed',
      effect: 'never_started',
      crashReason: 'init_error',
      error: { ...platformError, errorType: 'Hearth.StartFailed' },
    },
    status: 502,
    headers: { 'hearth-outcome': 'crashed', 'hearth-effect': 'never_started' },
    body: { error: ours('guest_failed', platformError, true), ...platformError, errorType: 'Hearth.StartFailed' },
  },
]

const idPattern = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}$/

for (const { title, changes, status, headers, body } of rows)
  test(`invoke ${title}: ${status}`, async () => {
    api.agent.script = ending(changes)
    const reply = await invoke(api, 'fn')
    assert.equal(reply.status, status)
    const id = reply.headers.get('hearth-invocation-id') ?? ''
    assert.match(id, idPattern)
    assert.equal(reply.headers.get('hearth-version'), '1')
    assert.match(reply.headers.get('server-timing') ?? '', /^admit;dur=[\d.]+, .*code_load;dur=2\.5$/)
    assert.equal(reply.headers.get('content-type'), 'application/json')
    assert.equal(reply.headers.get('hearth-start'), changes.start === null ? null : 'warm')
    for (const [name, value] of Object.entries(headers)) assert.equal(reply.headers.get(name), value, name)
    assert.equal(reply.headers.has('hearth-function-error'), 'hearth-function-error' in headers)
    for (const absent of ['retry-after', 'hearth-overload', 'hearth-log-result'])
      assert.equal(reply.headers.get(absent), null, absent)
    const shown = reply.json<{ error?: Record<string, unknown> }>()
    if (shown.error !== undefined) {
      assert.equal(shown.error['invocationId'], id)
      delete shown.error['invocationId']
    }
    assert.deepEqual(shown, body)
  })

test('invoke succeeded: 200 with the result, the start and its cause, and the tail of the log when asked for', async () => {
  for (const [start, coldCause, shown] of [
    ['warm', null, 'warm'],
    ['pool', 'first', 'cold;source=pool;cause=first'],
    ['boot', 'reuse_never', 'cold;source=boot;cause=reuse_never'],
    ['snapshot', 'scaled', 'cold;source=snapshot;cause=scaled'],
  ] as const) {
    api.agent.script = (request, receive, payload) => {
      receive({ type: 'data', chunk: payload() })
      const logTail = request.wantLogTail ? 'a line\n' : null
      receive({ type: 'result', result: attemptResult({ start, coldCause, phases, logTail }) })
    }
    const reply = await invoke(api, 'fn', { n: 1 }, { 'hearth-log': 'tail' })
    assert.equal(reply.status, 200)
    assert.deepEqual(reply.json(), { n: 1 })
    assert.equal(reply.headers.get('hearth-outcome'), 'succeeded')
    assert.equal(reply.headers.get('hearth-effect'), 'completed')
    assert.equal(reply.headers.get('hearth-start'), shown)
    assert.equal(Buffer.from(reply.headers.get('hearth-log-result') ?? '', 'base64').toString(), 'a line\n')
  }
})

test("invoke succeeded: the function's own status, type and headers pass, the platform's cannot be forged", async () => {
  api.agent.script = (_request, receive) => {
    const headers = [
      ['content-type', 'text/plain'],
      ['x-own', 'yes'],
      ['hearth-outcome', 'forged'],
      ['set-cookie', 'a=1'],
      ['transfer-encoding', 'chunked'],
    ] as const
    receive({ type: 'head', status: 201, headers })
    receive({ type: 'data', chunk: Buffer.from('made') })
    receive({ type: 'result', result: attemptResult() })
  }
  const reply = await invoke(api, 'fn')
  assert.deepEqual([reply.status, reply.body.toString()], [201, 'made'])
  assert.equal(reply.headers.get('content-type'), 'text/plain')
  assert.equal(reply.headers.get('x-own'), 'yes')
  assert.equal(reply.headers.get('hearth-outcome'), 'succeeded')
  assert.equal(reply.headers.get('set-cookie'), null)
})

test('invoke rejected by the node: 503 with Retry-After and what is overloaded', async () => {
  const refused = { code: 'backoff', message: 'The last 3 starts failed.', retryAfterMs: 2_500 } as const
  api.agent.script = ending({ outcome: 'rejected', effect: 'never_started', start: null, refused })
  const reply = await invoke(api, 'fn')
  assert.equal(reply.status, 503)
  assert.equal(reply.headers.get('retry-after'), '3')
  assert.equal(reply.headers.get('hearth-overload'), 'function;backoff')
  assert.equal(reply.headers.get('hearth-outcome'), 'rejected')
  assert.equal(reply.headers.get('hearth-effect'), 'never_started')
  assert.equal(reply.headers.get('hearth-start'), null)
  assert.match(reply.headers.get('hearth-invocation-id') ?? '', idPattern)
  const { error } = reply.json<{ error: Record<string, unknown> }>()
  assert.deepEqual([error['code'], error['retryable']], ['capacity', true])
})

test('invoke rejected by its own limit: 429 with Retry-After, at once, while what is admitted waits its turn', async () => {
  const release: (() => void)[] = []
  api.agent.script = (_request, receive) => {
    release.push(() => receive({ type: 'result', result: attemptResult() }))
  }
  const replies = Array.from({ length: 200 }, async () => invoke(api, 'narrow'))
  const first = await Promise.race(replies)
  assert.equal(first.status, 429)
  assert.match(first.headers.get('retry-after') ?? '', /^[1-9]\d*$/)
  assert.equal(first.headers.get('hearth-overload'), 'function-concurrency;queue_full')
  assert.equal(first.headers.get('hearth-outcome'), 'rejected')
  assert.equal(first.headers.get('hearth-effect'), 'never_started')
  assert.equal(first.headers.get('hearth-version'), '1')
  api.agent.script = echo
  for (const answer of release) answer()
  const statuses = new Set((await Promise.all(replies)).map(({ status }) => status))
  assert.deepEqual(
    [...statuses].toSorted((a, b) => a - b),
    [200, 429],
  )
})

test('invoke expired in the queue: 503, never started, with the limit that it waited for', async () => {
  let answer: () => void = () => {}
  api.agent.script = (_request, receive) => {
    answer = () => receive({ type: 'result', result: attemptResult() })
  }
  const busy = invoke(api, 'narrow')
  const late = await invoke(api, 'narrow', {}, { 'hearth-timeout-ms': '30' })
  answer()
  assert.equal((await busy).status, 200)
  assert.equal(late.status, 503)
  assert.equal(late.headers.get('hearth-outcome'), 'expired')
  assert.equal(late.headers.get('hearth-effect'), 'never_started')
  assert.equal(late.headers.get('hearth-overload'), 'function-concurrency;deadline_passed')
  assert.match(late.headers.get('retry-after') ?? '', /^\d+$/)
  assert.match(late.headers.get('server-timing') ?? '', /^admit;dur=.*queue;dur=/)
})

test('invoke with more than the limit: 413 before there is an invocation; an agent that answers more: 502', async () => {
  const big = Buffer.alloc(limits.payloadBytesMax + 1, 0x20)
  const refused = await invoke(api, 'fn', big)
  assert.equal(refused.status, 413)
  assert.equal(refused.headers.get('hearth-effect'), 'never_started')
  assert.equal(refused.headers.get('hearth-invocation-id'), null)
  api.agent.script = (_request, receive) => {
    receive({ type: 'data', chunk: big })
    receive({ type: 'result', result: attemptResult() })
  }
  const tooLarge = await invoke(api, 'fn')
  assert.equal(tooLarge.status, 502)
  assert.equal(tooLarge.headers.get('hearth-function-error'), 'Function.ResponseSizeTooLarge')
  assert.equal(tooLarge.json<{ errorType: string }>().errorType, 'Function.ResponseSizeTooLarge')
})

test('invoke whose use is told after the answer: its receipt and the list wait for that, the answer does not', async () => {
  let tell: () => void = () => {}
  api.agent.script = (_request, receive) => {
    receive({ type: 'result', result: attemptResult(), usageFollows: true })
    tell = () => receive({ type: 'usage', memoryPeakMib: 150, ephemeralBytesPeak: 7 })
  }
  const id = (await invoke(api, 'fn')).headers.get('hearth-invocation-id')
  const peaks = ({ memoryPeakMib, ephemeralBytesPeak }: Record<string, unknown>): unknown[] => [
    memoryPeakMib,
    ephemeralBytesPeak,
  ]
  const asked = Promise.all([
    call(api, 'GET', `/v1/invocations/${id}`),
    call(api, 'GET', '/v1/functions/fn/invocations?limit=1'),
    call(api, 'POST', `/v1/invocations/${id}/cancel`),
  ])
  const early = await Promise.race([asked, new Promise((resolve) => setTimeout(() => resolve('waits'), 50))])
  assert.equal(early, 'waits')
  tell()
  const [one, list, cancelled] = await asked
  assert.deepEqual(peaks(one.json()), [150, 7])
  assert.deepEqual(list.json<{ items: Record<string, unknown>[] }>().items.map(peaks), [[150, 7]])
  assert.deepEqual(cancelled.json(), { cancelled: false })
  assert.deepEqual(peaks((await call(api, 'GET', `/v1/invocations/${id}`)).json()), [150, 7])
})
