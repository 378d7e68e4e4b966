import assert from 'node:assert/strict'
import { once } from 'node:events'
import { beforeEach, describe, test } from 'node:test'
import { setImmediate as tick } from 'node:timers/promises'
import { FrameType } from './frame.ts'
import { LinkBench } from '../../test/support/link-bench.ts'

let bench: LinkBench
beforeEach(() => {
  bench = new LinkBench()
})

describe('HostLink services', () => {
  test('OPEN gives a Duplex: both ways, with backpressure, each half ended by itself', async () => {
    await bench.ready()
    bench.peer.json(FrameType.open, 2, { service: 'platform-api' })
    bench.peer.send(FrameType.data, 1, 2, 'question')
    await tick()
    const [stream] = bench.opened
    assert.ok(stream !== undefined)
    const question: Buffer[] = []
    stream.on('data', (chunk: Buffer) => question.push(chunk))
    await once(stream, 'end')
    assert.equal(Buffer.concat(question).toString(), 'question')
    const body = Buffer.alloc(400_000, 'answer')
    stream.end(body)
    await tick()
    assert.equal(Buffer.concat(bench.sent(FrameType.data).map((frame) => frame.payload)).length, 262_144)
    bench.peer.credit(2, 200_000)
    await tick()
    assert.ok(Buffer.concat(bench.sent(FrameType.data).map((frame) => frame.payload)).equals(body))
    await tick()
    assert.deepEqual(bench.frames.at(-1)?.type, FrameType.end)
    // The id is spent.
    bench.peer.json(FrameType.open, 2, { service: 'platform-api' })
    await tick()
    assert.equal(bench.closedBy, 'stream')
  })

  test('a service nobody offers is refused with FAIL; what was on its way is dropped', async () => {
    await bench.ready()
    bench.isServiceOffered = false
    bench.peer.json(FrameType.open, 2, { service: 'model' })
    bench.peer.send(FrameType.data, 1, 2, 'question')
    await tick()
    bench.peer.send(FrameType.cancel, 0, 2, '{}')
    await tick()
    assert.equal(bench.closedBy, undefined)
    assert.match(
      bench.sent(FrameType.fail)[0]?.payload.toString() ?? '',
      /Cannot open: service \\"model\\" is not offered\./,
    )
  })

  test('the 65th stream at once is refused', async () => {
    await bench.ready()
    for (let n = 1; n <= 65; n++) bench.peer.json(FrameType.open, n * 2, { service: 'platform-api' })
    await tick()
    assert.equal(bench.opened.length, 64)
    assert.deepEqual(
      bench.sent(FrameType.fail).map((frame) => frame.stream),
      [130],
    )
  })

  test('destroy tells the guest: FAIL with an error, CANCEL without; CANCEL of the guest destroys', async () => {
    await bench.ready()
    for (const id of [2, 4, 6]) bench.peer.json(FrameType.open, id, { service: 'platform-api' })
    await tick()
    bench.opened[0]?.destroy(new Error('upstream is gone'))
    bench.opened[1]?.destroy()
    bench.peer.send(FrameType.cancel, 0, 6, '{}')
    await tick()
    assert.deepEqual(
      bench.frames.map((frame) => [frame.type, frame.stream]),
      [
        [FrameType.fail, 2],
        [FrameType.cancel, 4],
      ],
    )
    assert.ok(bench.opened[2]?.destroyed)
  })

  test('an overrun of a service stream kills; the end of the channel destroys the streams', async () => {
    await bench.ready()
    bench.peer.json(FrameType.open, 2, { service: 'platform-api' })
    for (let n = 0; n < 6; n++) bench.peer.send(FrameType.data, 0, 2, Buffer.alloc(65_536))
    await tick()
    assert.equal(bench.closedBy, 'credit')
    assert.ok(bench.opened[0]?.destroyed)
  })
})
