import assert from 'node:assert/strict'
import { duplexPair, type Duplex } from 'node:stream'
import { test } from 'node:test'
import { Qmp } from './qmp.ts'

/** A monitor after its greeting; `qemu` is QEMU's side, `sent` what came over it. */
async function opened(
  onSilent = (): void => assert.fail('not silent'),
): Promise<{ qmp: Qmp; qemu: Duplex; sent: Record<string, unknown>[] }> {
  const [here, qemu] = duplexPair()
  const sent: Record<string, unknown>[] = []
  qemu.setEncoding('utf8')
  qemu.on('data', (text: string) => {
    for (const line of text.split('\n').filter((each) => each !== '')) sent.push(JSON.parse(line))
  })
  const opening = Qmp.open(here, onSilent)
  qemu.write('{"QMP": {"version": {}}}\r\n{"return": {}, "id": 1}\r\n')
  return { qmp: await opening, qemu, sent }
}

test('open: the greeting is passed over, and capabilities are negotiated', async () => {
  const { sent, qmp } = await opened()
  assert.deepEqual(sent, [{ execute: 'qmp_capabilities', id: 1 }])
  assert.equal(qmp.isClosed, false)
})

test('open: a refusal is driver_failed', async () => {
  const [here, qemu] = duplexPair()
  const opening = Qmp.open(here, () => assert.fail('not silent'))
  qemu.write('{"error": {"class": "GenericError", "desc": "no"}, "id": 1}\n')
  await assert.rejects(opening, { code: 'driver_failed', message: 'QEMU refused qmp_capabilities: no' })
})

test('run: replies are matched by id, whatever their order and however they are split', async () => {
  const { qmp, qemu, sent } = await opened()
  const [first, second] = [qmp.run('query-status'), qmp.run('stop', { now: true })]
  qemu.write('{"return": 2, "id": 3}\n{"ret')
  qemu.write('urn": {"status": "running"}, "id": 2}\n')
  assert.deepEqual(await first, { status: 'running' })
  assert.equal(await second, 2)
  assert.deepEqual(sent.slice(1), [
    { execute: 'query-status', id: 2 },
    { execute: 'stop', arguments: { now: true }, id: 3 },
  ])
})

test("run: an error carries QEMU's own sentence, bounded", async () => {
  const { qmp, qemu } = await opened()
  const [first, second] = [qmp.run('cont'), qmp.run('cont')]
  first.catch(() => {})
  qemu.write(`{"error": {"desc": "${'y'.repeat(1_000)}"}, "id": 2}\n{"error": null, "id": 3}\n`)
  await assert.rejects(first, { code: 'driver_failed', message: `QEMU refused cont: ${'y'.repeat(400)}` })
  await assert.rejects(second, { message: 'QEMU refused cont: no reason given' })
})

test('event: resolves at the next one of that name only', async () => {
  const { qmp, qemu } = await opened()
  const order: string[] = []
  const resumed = qmp.event('RESUME').then(() => order.push('RESUME'))
  const stopped = qmp.event('STOP').then(() => order.push('STOP'))
  qemu.write('{"event": "STOP"}\n')
  await stopped
  assert.deepEqual(order, ['STOP'])
  qemu.write('{"event": "RESUME"}\n{"event": "RESUME"}\n')
  await resumed
  assert.deepEqual(order, ['STOP', 'RESUME'])
})

test('what is no reply is passed over', async () => {
  const { qmp, qemu } = await opened()
  const reply = qmp.run('stop')
  qemu.write('garbage\n[]\nnull\n7\n{"id": "2"}\n{"id": 99, "return": 1}\n{"id": 2, "return": "right"}\n')
  assert.equal(await reply, 'right')
})

test('a line without end closes the monitor', async () => {
  const { qmp, qemu } = await opened()
  const reply = qmp.run('stop')
  reply.catch(() => {})
  qemu.on('error', () => {})
  qemu.write('x'.repeat(300 * 1024))
  await assert.rejects(reply, { code: 'driver_failed', message: /a line of it is too long/ })
  assert.equal(qmp.isClosed, true)
})

test('the end of QEMU fails what waits and what is asked later', async () => {
  const { qmp, qemu } = await opened()
  const [reply, event] = [qmp.run('stop'), qmp.event('STOP')]
  for (const waiting of [reply, event]) waiting.catch(() => {})
  qemu.end()
  const gone = { code: 'driver_failed', retryable: true, message: /it closed the connection/ }
  await assert.rejects(reply, gone)
  await assert.rejects(event, gone)
  await assert.rejects(qmp.run('cont'), gone)
  await assert.rejects(qmp.event('RESUME'), gone)
})

test('close: what waits fails, and QEMU sees the end', async () => {
  const { qmp } = await opened()
  const reply = qmp.run('stop')
  reply.catch(() => {})
  qmp.close()
  await assert.rejects(reply, { message: 'QEMU did not do stop: closed here.' })
})

test('run: a QEMU that does not answer is told of, once, and everything that waits for it fails', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  let silences = 0
  const { qmp, qemu } = await opened(() => silences++)
  qemu.on('error', () => {})
  const answered = qmp.run('query-status')
  qemu.write('{"return": 1, "id": 2}\n')
  await answered
  const [first, event] = [qmp.run('stop'), qmp.event('STOP')]
  t.mock.timers.tick(29_999)
  const second = qmp.run('cont')
  for (const waiting of [first, second]) waiting.catch(() => {})
  assert.equal(silences, 0)
  t.mock.timers.tick(1)
  const late = { code: 'driver_failed', retryable: true, message: /it did not answer stop within 30000 ms\.$/ }
  for (const waiting of [first, second, event]) await assert.rejects(waiting, late)
  t.mock.timers.tick(60_000)
  assert.deepEqual([silences, qmp.isClosed], [1, true])
})
