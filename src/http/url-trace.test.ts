import assert from 'node:assert/strict'
import { test } from 'node:test'
import { amznRoot, freshTrace, traceOf } from './url-trace.ts'

const traceparent = '00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01'
const amzn = 'Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1'

test('traceOf: of a request in either form, W3C first; what is malformed is the trace of nobody', () => {
  assert.equal(traceOf({ traceparent, 'x-amzn-trace-id': 'Root=1-00000000-000000000000000000000000' }), traceparent)
  assert.equal(traceOf({ 'x-amzn-trace-id': amzn }), traceparent)
  assert.match(
    traceOf({ 'x-amzn-trace-id': 'Self=1-x; root=1-5759E988-bd862e3fe1be46a994272793' }) ?? '',
    /^00-5759e988bd862e3fe1be46a994272793-[0-9a-f]{16}-00$/,
  )
  for (const headers of [{}, { traceparent: '00-x' }, { 'x-amzn-trace-id': 'Root=1-5759e988\r\n-x' }])
    assert.equal(traceOf(headers), null)
})

test('amznRoot, freshTrace: a trace as AWS writes it; a fresh one has the time in it', () => {
  assert.equal(amznRoot(traceparent), 'Root=1-5759e988-bd862e3fe1be46a994272793')
  assert.match(amznRoot(freshTrace(1_465_510_280_000)), /^Root=1-5759e988-[0-9a-f]{24}$/)
})
