import assert from 'node:assert/strict'
import { beforeEach, describe, test } from 'node:test'
import { setImmediate as tick } from 'node:timers/promises'
import * as fc from 'fast-check'
import type { FunctionError } from '../domain/invocation.ts'
import { encodeFrame, Flag, FrameType } from './frame.ts'
import { GuestPeer } from './guest-peer.ts'
import type { InvokeStream } from './link.ts'
import { WireError, type WireErrorKind } from './wire-error.ts'
import { bindMessage as bind } from '../../test/support/bind-message.ts'
import { event, LinkBench } from '../../test/support/link-bench.ts'

let bench: LinkBench
beforeEach(() => {
  bench = new LinkBench()
})

describe('HostLink phases', () => {
  test('HELLO, CONFIGURE, BIND, READY: each is told once', async () => {
    await bench.greet()
    bench.peer.json(FrameType.ready, 0, { loadMs: 2.5, unknown: 'ignored' })
    await tick()
    assert.deepEqual(bench.calls, [
      ['hello', { protocol: 1, role: 'runtime', epoch: 'e1', runtime: 'fake', version: '1', pid: 1, isBusy: false }],
      ['ready', { loadMs: 2.5 }],
    ])
    assert.deepEqual(
      bench.frames.map((frame) => frame.type),
      [FrameType.configure, FrameType.bind],
    )
    assert.deepEqual(JSON.parse(bench.frames[1]?.payload.toString() ?? ''), bind)
  })

  const breaches: [string, WireErrorKind, (peer: GuestPeer) => void][] = [
    ['anything before HELLO', 'phase', (peer) => peer.send(FrameType.ping, 0, 0)],
    ['HELLO of another epoch', 'phase', (peer) => peer.hello('e0')],
    ['HELLO of the other role', 'phase', (peer) => peer.hello('e1', 'supervisor')],
    ['HELLO that is not JSON', 'json', (peer) => peer.send(FrameType.hello, 0, 0, '{"protocol":1')],
    ['HELLO that is a list', 'json', (peer) => peer.send(FrameType.hello, 0, 0, '[]')],
    ['HELLO of another protocol', 'json', (peer) => peer.json(FrameType.hello, 0, { protocol: 2 })],
    [
      'HELLO with a boundless epoch',
      'json',
      (peer) =>
        peer.json(FrameType.hello, 0, {
          protocol: 1,
          role: 'runtime',
          epoch: 'x'.repeat(129),
          runtime: '',
          version: '',
          pid: 1,
        }),
    ],
    ['HELLO without a field', 'json', (peer) => peer.json(FrameType.hello, 0, { protocol: 1, role: 'runtime' })],
  ]
  for (const [name, kind, act] of breaches)
    test(`${name}: closed by ${kind}, channel destroyed`, async () => {
      act(bench.peer)
      await tick()
      assert.equal(bench.closedBy, kind)
      assert.ok(bench.host.destroyed)
    })

  test('a second HELLO, READY before BIND and twice, host-only frames: phase', async () => {
    const cases: ((peer: GuestPeer) => void)[] = [
      (peer) => peer.hello('e1'),
      (peer) => peer.json(FrameType.ready, 0, { loadMs: 1 }),
      (peer) => peer.json(FrameType.fail, 0, { errorType: 'E', errorMessage: '' }),
      (peer) => peer.json(FrameType.bind, 0, {}),
      (peer) => peer.json(FrameType.shutdown, 0, {}),
      (peer) => peer.json(FrameType.resumed, 0, { epoch: '' }),
    ]
    for (const act of cases) {
      bench = new LinkBench()
      await bench.ready()
      act(bench.peer)
      await tick()
      assert.equal(bench.closedBy, 'phase')
    }
    bench = new LinkBench()
    bench.peer.hello('e1')
    bench.peer.json(FrameType.ready, 0, { loadMs: 1 })
    await tick()
    assert.equal(bench.closedBy, 'phase')
  })

  test('FAIL on stream 0 tells the failed start, and why', async () => {
    await bench.greet()
    bench.invoke()
    const error = { errorType: 'Runtime.ImportModuleError', errorMessage: 'no', stackTrace: ['a'], phase: 'code_load' }
    bench.peer.json(FrameType.fail, 0, error)
    await tick()
    assert.deepEqual(bench.calls.at(-1), ['initFail', error])
    assert.equal(bench.closedBy, undefined)
  })

  test('the end of the channel closes with null, an error with it, close() with null and once', async () => {
    await bench.ready()
    bench.peer.channel.end()
    await tick()
    assert.equal(bench.closedBy, null)
    bench = new LinkBench()
    bench.host.destroy(new Error('broken'))
    await tick()
    assert.equal(String(bench.calls[0]?.[1]), 'Error: broken')
    bench = new LinkBench()
    bench.link.close()
    bench.link.close()
    assert.deepEqual(bench.calls, [['closed', null]])
  })

  test('bind refuses an environment that does not fit a frame', async () => {
    bench.peer.hello('e1')
    await tick()
    bench.link.configure({ instance: 'i', nowMs: 1, logBytesPerSecond: 1 })
    assert.throws(() => bench.link.bind({ ...bind, env: { A: '\u0001'.repeat(12_000) } }), {
      message: /^Cannot start f: its environment and secrets take 72\d\d\d bytes as JSON, at most 65536 fit\.$/,
    })
  })
})

describe('HostLink invocations', () => {
  test('INVOKE and event, then HEAD, DATA, END', async () => {
    await bench.ready()
    const stream = bench.invoke()
    stream.write(Buffer.from('{"n":1}'), true)
    await tick()
    assert.deepEqual(
      bench.frames.map(({ type, flags, stream: id, payload }) => [type, flags, id, payload.toString()]),
      [
        [FrameType.invoke, 0, 1, JSON.stringify(event)],
        [FrameType.data, 1, 1, '{"n":1}'],
      ],
    )
    bench.peer.send(FrameType.log, 1, 1, 'out\n')
    bench.peer.send(FrameType.log, 2, 0, 'err')
    bench.peer.json(FrameType.head, 1, { status: 201, headers: [['a', 'b']] })
    bench.peer.send(FrameType.data, 0, 1, 'x')
    bench.peer.send(FrameType.data, 1, 1, 'y')
    await tick()
    assert.deepEqual(bench.calls, [
      ['log', 1, 1, 'out\n'],
      ['log', 0, 2, 'err'],
      ['head', { status: 201, headers: [['a', 'b']] }],
      ['data', 'x'],
      ['data', 'y'],
      ['end', false],
    ])
  })

  test('an empty event is one END, FAIL ends, OPEN_WORK waits for IDLE', async () => {
    await bench.ready()
    bench.invoke().write(Buffer.alloc(0), true)
    await tick()
    assert.deepEqual([bench.frames[1]?.type, bench.frames[1]?.flags], [FrameType.end, 1])
    bench.peer.send(FrameType.fail, 3, 1, '{"errorType":"E","errorMessage":"m","stackTrace":["s"]}')
    await tick()
    const error: FunctionError = { errorType: 'E', errorMessage: 'm', stackTrace: ['s'] }
    assert.deepEqual(bench.calls, [['fail', error, true]])
    bench.peer.send(FrameType.log, 1, 1, 'late')
    bench.peer.send(FrameType.idle, 0, 1)
    await tick()
    assert.deepEqual(bench.calls.slice(1), [['log', 1, 1, 'late'], ['idle']])
    bench.peer.send(FrameType.idle, 0, 1)
    await tick()
    assert.equal(bench.closedBy, 'phase')
  })

  test('streams rise by two; an invocation may start inside the end of the one before', async () => {
    await bench.ready()
    let next: InvokeStream | undefined
    bench.invoke({ onEnd: () => (next = bench.invoke()) })
    bench.peer.send(FrameType.end, 1, 1)
    await tick()
    assert.equal(next?.id, 3)
    bench.peer.send(FrameType.data, 1, 3, 'ok')
    await tick()
    assert.deepEqual(bench.calls, [
      ['data', 'ok'],
      ['end', false],
    ])
  })

  test('cancel sends the reason and drops what was queued; late CREDIT and CANCEL of the guest are dropped', async () => {
    await bench.ready()
    const stream = bench.invoke()
    stream.write(Buffer.alloc(300_000), false)
    stream.cancel('deadline')
    await tick()
    assert.equal(bench.sent(FrameType.cancel)[0]?.payload.toString(), '{"reason":"deadline"}')
    bench.peer.credit(1, 100_000)
    bench.peer.send(FrameType.end, 1, 1)
    bench.peer.credit(1, 100_000)
    bench.peer.send(FrameType.cancel, 0, 1, '{}')
    await tick()
    assert.equal(bench.closedBy, undefined)
    const bytes = bench.sent(FrameType.data).reduce((sum, frame) => sum + frame.payload.length, 0)
    assert.equal(bytes, 262_144)
    stream.cancel('again')
    await tick()
    assert.equal(bench.sent(FrameType.cancel).length, 1)
  })

  const breaches: [string, WireErrorKind, (peer: GuestPeer) => void][] = [
    ['DATA on a stream never opened', 'stream', (peer) => peer.send(FrameType.data, 1, 3, 'x')],
    ['LOG on a stream never opened', 'stream', (peer) => peer.send(FrameType.log, 1, 3, 'x')],
    ['CREDIT on a stream never opened', 'stream', (peer) => peer.credit(3, 1)],
    ['INVOKE from the guest', 'stream', (peer) => peer.json(FrameType.invoke, 1, {})],
    [
      'DATA after FIN',
      'phase',
      (peer) => {
        peer.send(FrameType.data, 1, 1, 'x')
        peer.send(FrameType.data, 1, 1, 'x')
      },
    ],
    [
      'DATA after FIN with OPEN_WORK',
      'phase',
      (peer) => {
        peer.send(FrameType.data, 3, 1, 'x')
        peer.send(FrameType.data, 1, 1, 'x')
      },
    ],
    ['IDLE before the end', 'phase', (peer) => peer.send(FrameType.idle, 0, 1)],
    [
      'HEAD after DATA',
      'phase',
      (peer) => {
        peer.send(FrameType.data, 0, 1, 'x')
        peer.json(FrameType.head, 1, { status: 200, headers: [] })
      },
    ],
    [
      'HEAD with a line break in a value',
      'json',
      (peer) => peer.json(FrameType.head, 1, { status: 200, headers: [['a', 'b\r\nc']] }),
    ],
    [
      'HEAD with a name that is no token',
      'json',
      (peer) => peer.json(FrameType.head, 1, { status: 200, headers: [['a b', '']] }),
    ],
    ['HEAD with status 99', 'json', (peer) => peer.json(FrameType.head, 1, { status: 99, headers: [] })],
    [
      'HEAD with 257 headers',
      'json',
      (peer) => peer.json(FrameType.head, 1, { status: 200, headers: Array.from({ length: 257 }, () => ['a', 'b']) }),
    ],
    ['FAIL with a number as type', 'json', (peer) => peer.json(FrameType.fail, 1, { errorType: 1, errorMessage: '' })],
    [
      'FAIL with a stack of numbers',
      'json',
      (peer) => peer.json(FrameType.fail, 1, { errorType: '', errorMessage: '', stackTrace: [1] }),
    ],
    [
      'credit beyond a window',
      'credit',
      (peer) => {
        peer.credit(1, 65_537)
      },
    ],
    [
      'more DATA than credit',
      'credit',
      (peer) => {
        for (let n = 0; n < 4; n++) peer.send(FrameType.data, 0, 1, Buffer.alloc(65_536))
        peer.send(FrameType.data, 0, 1, 'x')
      },
    ],
    ['a PING answer nobody asked for', 'phase', (peer) => peer.send(FrameType.ping, 1, 0, 'x')],
  ]
  for (const [name, kind, act] of breaches)
    test(`${name}: closed by ${kind}`, async () => {
      await bench.ready()
      bench.invoke()
      act(bench.peer)
      await tick()
      assert.equal(bench.closedBy, kind)
      assert.ok(bench.host.destroyed)
    })

  test('an answer before READY: phase', async () => {
    await bench.greet()
    bench.invoke()
    bench.peer.send(FrameType.end, 1, 1)
    await tick()
    assert.equal(bench.closedBy, 'phase')
  })

  test('6 MB each way through a slow reader: every byte, and never more than the window in flight', async () => {
    await bench.ready()
    const sizeBytes = 6 * 1024 * 1024
    const body = Buffer.alloc(sizeBytes, 'abcdefg')
    let gotBytes = 0
    let unreadBytes = 0
    let unreadBytesMax = 0
    const state = { ended: false }
    const stream = bench.invoke({
      onData: (chunk) => {
        gotBytes += chunk.length
        unreadBytes += chunk.length
        unreadBytesMax = Math.max(unreadBytesMax, unreadBytes)
      },
      onEnd: () => (state.ended = true),
    })
    stream.write(body, true)
    let guestCredit = 262_144
    let guestSent = 0
    while (!state.ended) {
      await tick()
      // The host's reader takes 50,000 bytes a turn.
      const taken = Math.min(unreadBytes, 50_000)
      unreadBytes -= taken
      stream.credit(taken)
      // The guest sends what it may and takes the event as it comes.
      const incoming = bench.frames.splice(0)
      guestCredit += incoming
        .filter((frame) => frame.type === FrameType.credit)
        .reduce((sum, frame) => sum + frame.payload.readUInt32BE(0), 0)
      const eventBytes = incoming.filter((f) => f.type === FrameType.data).reduce((sum, f) => sum + f.payload.length, 0)
      if (eventBytes > 0) bench.peer.credit(1, eventBytes)
      for (const part of [body.subarray(guestSent, guestSent + Math.min(65_536, guestCredit))]) {
        if (part.length === 0 || guestSent === sizeBytes) continue
        guestSent += part.length
        guestCredit -= part.length
        bench.peer.send(FrameType.data, guestSent === sizeBytes ? 1 : 0, 1, part)
      }
    }
    assert.equal(gotBytes, sizeBytes)
    assert.ok(unreadBytesMax <= 262_144, `${unreadBytesMax} bytes waited`)
    assert.equal(bench.closedBy, undefined)
  })

  test('an event of 6 MB waits for credit and arrives whole', async () => {
    await bench.ready()
    const body = Buffer.alloc(6 * 1024 * 1024, 'hearth')
    const stream = bench.invoke()
    for (let at = 0; at < body.length; at += 100_000)
      stream.write(body.subarray(at, at + 100_000), at + 100_000 >= body.length)
    await tick()
    assert.equal(Buffer.concat(bench.sent(FrameType.data).map((frame) => frame.payload)).length, 262_144)
    for (let given = 0; given < body.length; given += 65_536) {
      bench.peer.credit(1, 65_536)
      await tick()
    }
    const data = bench.sent(FrameType.data)
    assert.ok(Buffer.concat(data.map((frame) => frame.payload)).equals(body))
    assert.deepEqual(new Set(data.slice(0, -1).map((frame) => frame.flags)), new Set([0]))
    assert.equal(data.at(-1)?.flags, 1)
  })
})

describe('HostLink control', () => {
  test('ping resolves at its answer and rejects when the link closes', async () => {
    await bench.ready()
    const first = bench.link.ping()
    await tick()
    bench.peer.send(FrameType.ping, 1, 0, bench.frames[0]?.payload)
    await first
    const second = bench.link.ping()
    bench.link.close()
    await assert.rejects(second, { message: 'The channel is closed.' })
    await assert.rejects(bench.link.ping(), { message: 'The channel is closed.' })
  })

  test('a PING of the guest is echoed; a flood nobody reads stops the reading instead of filling memory', async () => {
    await bench.ready()
    bench.peer.send(FrameType.ping, 0, 0, 'hi')
    await tick()
    assert.deepEqual(bench.frames[0], { type: FrameType.ping, flags: 1, stream: 0, payload: Buffer.from('hi') })
    bench.host._write = () => {}
    const ping = encodeFrame(FrameType.ping, 0, 0, Buffer.alloc(64))
    const flood = Buffer.concat(Array.from({ length: 800 }, () => ping))
    for (let n = 0; n < 100; n++) {
      bench.host.push(flood)
      await tick()
    }
    assert.ok(bench.host.isPaused())
    assert.ok(bench.host.writableLength < 1.2 * 1024 * 1024, `${bench.host.writableLength} bytes are waiting`)
  })

  test('pauseReading holds frames back until resumeReading', async () => {
    await bench.ready()
    bench.link.pauseReading()
    bench.peer.send(FrameType.log, 1, 0, 'later')
    await tick()
    assert.deepEqual(bench.calls, [])
    bench.link.resumeReading()
    await tick()
    assert.deepEqual(bench.calls, [['log', 0, 1, 'later']])
  })

  test('shutdown sends the grace', async () => {
    await bench.ready()
    bench.link.shutdown(250)
    await tick()
    assert.equal(bench.frames[0]?.payload.toString(), '{"graceMs":250}')
  })
})

test('HostLink survives any sequence of well-formed frames: a WireError or nothing, and onClosed once', async () => {
  const frame = fc.record({
    type: fc.constantFrom(...Object.values(FrameType)),
    flags: fc.integer({ min: 0, max: 3 }),
    stream: fc.integer({ min: 0, max: 4 }),
    text: fc.constantFrom(
      '',
      '{}',
      '{"loadMs":1}',
      '{"service":"s"}',
      '{"status":200,"headers":[]}',
      '\0\0\0\u0001',
      '{"errorType":"E","errorMessage":"m"}',
      'x'.repeat(60_000),
    ),
  })
  await fc.assert(
    fc.asyncProperty(fc.array(frame, { maxLength: 30 }), async (frames) => {
      bench = new LinkBench()
      await bench.ready()
      bench.invoke()
      for (const { type, flags, stream, text } of frames) bench.peer.send(type, flags, stream, text)
      await tick()
      assert.ok(bench.calls.filter(([name]) => name === 'closed').every(([, error]) => error instanceof WireError))
      assert.ok(bench.calls.filter(([name]) => name === 'closed').length <= 1)
    }),
    { numRuns: 500 },
  )
})

describe('HostLink that takes over', () => {
  test('what was said to the host before is dropped until HELLO with the own epoch, which may come twice', async () => {
    const bench = new LinkBench({ isTakenOver: true })
    bench.peer.hello('e0')
    bench.peer.json(FrameType.ready, 0, { loadMs: 1 })
    bench.peer.send(FrameType.data, Flag.fin, 1, '"a late result"')
    await tick()
    assert.equal(bench.calls.length, 0)
    await bench.greet()
    bench.peer.hello('e1')
    bench.peer.json(FrameType.ready, 0, { loadMs: 2 })
    await tick()
    assert.deepEqual(
      bench.calls.map(([name]) => name),
      ['hello', 'ready'],
    )
  })

  test('after its HELLO one with another epoch ends the link', async () => {
    const bench = new LinkBench({ isTakenOver: true })
    await bench.greet()
    bench.clear()
    bench.peer.hello('e0')
    await tick()
    assert.deepEqual(
      bench.calls.map(([name]) => name),
      ['closed'],
    )
  })

  test('more than a guest can hold for an earlier host ends the link', async () => {
    const bench = new LinkBench({ isTakenOver: true })
    for (let count = 0; count < 17; count++) bench.peer.send(FrameType.log, Flag.stdout, 0, 'x'.repeat(65_536))
    for (let count = 0; count < 40; count++) await tick()
    assert.deepEqual(
      bench.calls.map(([name]) => name),
      ['closed'],
    )
  })
})
