import assert from 'node:assert/strict'
import { beforeEach, describe, test } from 'node:test'
import { setImmediate as tick } from 'node:timers/promises'
import { channelPair, PeerBench } from '../../test/support/peer-bench.ts'
import { Flag, FrameType } from './frame.ts'
import { GuestPeer } from './guest-peer.ts'
import { InitLink } from './init-link.ts'
import { WireError, type WireErrorKind } from './wire-error.ts'

const configure = {
  instance: 'i-1',
  nowMs: 1,
  logBytesPerSecond: 1,
  epoch: 'e2',
  argv: ['/usr/bin/node'],
  env: {},
  hostname: 'i-1',
  pidsMax: 64,
  memoryMib: 128,
  seed: '00'.repeat(32),
}
const bind = { hasCode: true, rootUser: null, memoryMib: 128, tmpMib: 64, pidsMax: 64, network: null }
const resume = { nowMs: 1, seed: '11'.repeat(32), epoch: 'e3', instance: 'i-2', hostname: 'i-2' }
const exit = {
  errorType: 'Runtime.Exit',
  errorMessage: 'It ended.',
  stackTrace: [],
  phase: 'exit',
  code: 7,
  signal: null,
  oom: false,
}
const stats = {
  memoryBytes: 1,
  memoryPeakBytes: 2,
  cpuMs: 3,
  pids: 4,
  tmpBytes: 5,
  tmpFull: false,
  oomKills: 0,
}

class Bench extends PeerBench {
  readonly link: InitLink

  constructor(isRestored = false) {
    super()
    this.link = new InitLink(this.host, {
      epoch: 'e1',
      isRestored,
      handlers: {
        onHello: this.note('hello'),
        onExit: this.note('exit'),
        onFail: this.note('fail'),
        onClosed: this.note('closed'),
      },
    })
  }

  async running(): Promise<this> {
    this.greet()
    await tick()
    this.link.configure(configure)
    await tick()
    this.clear()
    return this
  }

  greet(rest: object = {}): void {
    const hello = { protocol: 1, role: 'init', epoch: 'e1', runtime: 'hearth-guest', version: '1', pid: 1 }
    this.peer.json(FrameType.hello, 0, { ...hello, kernelMs: 300, initMs: 4, ...rest })
  }

  /** What the guest was sent, as [type, message]. */
  sent(): [number, unknown][] {
    return this.frames.map(({ type, payload }) => [type, JSON.parse(payload.toString())])
  }

  async breach(kind: WireErrorKind, text: RegExp): Promise<void> {
    await tick()
    const closed = this.calls.at(-1)
    assert.equal(closed?.[0], 'closed')
    const error = closed[1]
    assert.ok(error instanceof WireError, String(error))
    assert.equal(error.kind, kind)
    assert.match(error.message, text)
    assert.ok(this.host.destroyed)
  }
}

describe('InitLink', () => {
  let bench: Bench
  beforeEach(async () => {
    bench = await new Bench().running()
  })

  test('greets, then sends CONFIGURE as it is', async () => {
    const fresh = new Bench()
    fresh.greet()
    await tick()
    const [name, hello] = fresh.calls[0] ?? []
    assert.equal(name, 'hello')
    assert.ok(typeof hello === 'object' && hello !== null && 'kernelMs' in hello && 'initMs' in hello)
    assert.deepEqual([hello.kernelMs, hello.initMs], [300, 4])
    fresh.link.configure(configure)
    await tick()
    assert.deepEqual(fresh.sent(), [[FrameType.configure, configure]])
  })

  test('bind resolves at READY', async () => {
    const bound = bench.link.bind(bind)
    await tick()
    assert.deepEqual(bench.sent(), [[FrameType.bind, bind]])
    bench.peer.json(FrameType.ready, 0, { loadMs: 3.5 })
    assert.deepEqual(await bound, { loadMs: 3.5 })
  })

  test('bind rejects with what the guest says it could not do, and the link lives on', async () => {
    const bound = bench.link.bind(bind)
    const message = 'Cannot mount "/dev/vdb": No such device.'
    bench.peer.json(FrameType.fail, 0, { ...exit, errorType: 'Guest.code.mount', errorMessage: message, phase: 'bind' })
    await assert.rejects(bound, {
      code: 'driver_failed',
      message: `The microVM could not bind: ${message}`,
      detail: 'Guest.code.mount',
    })
    assert.deepEqual(bench.calls, [])
  })

  test('a FAIL that no promise waits for is told by onFail', async () => {
    bench.peer.json(FrameType.fail, 0, { ...exit, phase: 'configure' })
    await tick()
    assert.deepEqual(bench.calls, [['fail', { ...exit, phase: 'configure', code: null }]])
  })

  test('onExit tells code, signal and oom', async () => {
    bench.peer.json(FrameType.fail, 0, exit)
    await tick()
    assert.deepEqual(bench.calls, [['exit', exit]])
  })

  test('prepareSnapshot is PREPARE_SNAPSHOT and a PING, and resolves at its answer', async () => {
    let isQuiet = false
    const quiet = bench.link.prepareSnapshot().then(() => (isQuiet = true))
    await tick()
    assert.deepEqual(
      bench.frames.map(({ type }) => type),
      [FrameType.prepareSnapshot, FrameType.ping],
    )
    assert.equal(isQuiet, false)
    bench.peer.send(FrameType.ping, Flag.pong, 0, bench.frames[1]?.payload)
    await quiet
  })

  test('resume on a restored VM needs no HELLO, takes a late one, and resolves at RESUMED of its epoch', async () => {
    const restored = new Bench(true)
    const resumed = restored.link.resume(resume)
    restored.peer.hello('e0', 'init')
    await tick()
    assert.deepEqual(restored.sent(), [[FrameType.resume, resume]])
    restored.peer.json(FrameType.resumed, 0, { epoch: 'e3' })
    await resumed
    assert.deepEqual(restored.calls, [])
  })

  test('resume rejects with the step that failed', async () => {
    const resumed = bench.link.resume(resume)
    bench.peer.json(FrameType.fail, 0, { ...exit, errorMessage: 'The runtime is silent.', phase: 'resume' })
    await assert.rejects(resumed, { message: 'The microVM could not resume: The runtime is silent.' })
  })

  test('setClock sends the time alone and resolves at RESUMED without an epoch', async () => {
    const set = bench.link.setClock(5)
    await tick()
    assert.deepEqual(bench.sent(), [[FrameType.resume, { nowMs: 5 }]])
    bench.peer.json(FrameType.resumed, 0, {})
    await set
  })

  test('syncClock sends the time again while answers are slow, and not for ever', async () => {
    const answer = async (): Promise<number> => {
      await tick()
      bench.peer.json(FrameType.resumed, 0, {})
      return bench.sent().length
    }
    const quick = bench.link.syncClock(() => 1_000)
    await answer()
    await quick
    assert.deepEqual(bench.sent(), [[FrameType.resume, { nowMs: 1_000 }]])
    bench.frames.length = 0
    let nowMs = 0
    const slow = bench.link.syncClock(() => (nowMs += 100))
    for (let round = 0; round < 5; round++) {
      await answer()
      await tick()
    }
    await slow
    assert.deepEqual(
      bench.sent().map(([, message]) => message),
      [100, 300, 500, 700, 900].map((each) => ({ nowMs: each })),
    )
  })

  test('a guest that does not answer BIND or RESUME in 20 s loses its link; to STATS it may be as slow as it likes', async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] })
    const asks = {
      BIND: (link: InitLink) => link.bind(bind),
      RESUME: (link: InitLink) => link.setClock(1),
    }
    for (const [what, ask] of Object.entries(asks)) {
      const slow = await new Bench().running()
      const counted = assert.rejects(slow.link.stats(), /does not answer/)
      t.mock.timers.tick(60_000)
      const asked = assert.rejects(ask(slow.link), new RegExp(`does not answer: No answer to ${what} within 20 s`))
      t.mock.timers.tick(19_999)
      await tick()
      assert.deepEqual(slow.calls, [])
      t.mock.timers.tick(1)
      await asked
      await counted
      await slow.breach('phase', new RegExp(`No answer to ${what}`))
    }
  })

  test('stats are answered in the order asked', async () => {
    const both = Promise.all([bench.link.stats(), bench.link.stats({ resetPeak: true })])
    await tick()
    assert.deepEqual(bench.sent(), [
      [FrameType.stats, { resetPeak: false }],
      [FrameType.stats, { resetPeak: true }],
    ])
    for (const pids of [1, 2]) bench.peer.send(FrameType.stats, Flag.answer, 0, JSON.stringify({ ...stats, pids }))
    assert.deepEqual(await both, [
      { ...stats, pids: 1 },
      { ...stats, pids: 2 },
    ])
  })

  test('answers the PING of a guest that is about to power off', async () => {
    bench.peer.send(FrameType.ping, 0, 0, 'bye')
    await tick()
    await tick()
    assert.deepEqual(
      bench.frames.map(({ type, flags, payload }) => [type, flags, payload.toString()]),
      [[FrameType.ping, Flag.pong, 'bye']],
    )
  })

  test('close rejects everything that is asked, before and after', async () => {
    const asked = [bench.link.bind(bind), bench.link.stats(), bench.link.ping(), bench.link.setClock(1)]
    bench.link.close()
    bench.link.configure(configure)
    const late = [bench.link.stats(), bench.link.bind(bind), bench.link.setClock(1), bench.link.prepareSnapshot()]
    for (const each of [...asked, ...late])
      await assert.rejects(each, {
        code: 'driver_failed',
        message: 'The microVM does not answer: its channel was closed',
      })
    assert.deepEqual(bench.calls, [['closed', null]])
  })

  const breaches: [string, WireErrorKind, RegExp, (peer: GuestPeer) => void][] = [
    ['HELLO twice', 'phase', /second time/, (peer) => peer.hello('e1', 'init')],
    ['READY unasked', 'phase', /READY that was not asked/, (peer) => peer.json(FrameType.ready, 0, { loadMs: 1 })],
    ['RESUMED unasked', 'phase', /RESUMED that/, (peer) => peer.json(FrameType.resumed, 0, {})],
    [
      'STATS unasked',
      'phase',
      /STATS that/,
      (peer) => peer.send(FrameType.stats, Flag.answer, 0, JSON.stringify(stats)),
    ],
    ['STATS asked of the host', 'phase', /STATS that/, (peer) => peer.send(FrameType.stats, 0, 0, '{}')],
    ['a PING answer unasked', 'phase', /PING answer/, (peer) => peer.send(FrameType.ping, Flag.pong, 0, '12345678')],
    ['LOG', 'phase', /LOG is not for the guest/, (peer) => peer.send(FrameType.log, 1, 0, 'x')],
    ['LOG of an invocation', 'stream', /LOG on stream 1/, (peer) => peer.send(FrameType.log, 1, 1, 'x')],
    ['OPEN', 'stream', /OPEN on stream 2/, (peer) => peer.json(FrameType.open, 2, { service: 'x' })],
    ['BIND', 'phase', /BIND is not for the guest/, (peer) => peer.json(FrameType.bind, 0, {})],
    ['an exit code of 256', 'json', /code must be/, (peer) => peer.json(FrameType.fail, 0, { ...exit, code: 256 })],
    [
      'a signal that is none',
      'json',
      /signal must be/,
      (peer) => peer.json(FrameType.fail, 0, { ...exit, code: null, signal: '; rm' }),
    ],
    ['code and signal', 'json', /one of code/, (peer) => peer.json(FrameType.fail, 0, { ...exit, signal: 'SIGHUP' })],
    ['neither code nor signal', 'json', /one of code/, (peer) => peer.json(FrameType.fail, 0, { ...exit, code: null })],
    ['oom as text', 'json', /oom must be/, (peer) => peer.json(FrameType.fail, 0, { ...exit, oom: 'no' })],
    [
      'two exits',
      'phase',
      /second time/,
      (peer) => {
        peer.json(FrameType.fail, 0, exit)
        peer.json(FrameType.fail, 0, exit)
      },
    ],
  ]
  for (const [name, kind, text, act] of breaches)
    test(`a guest that sends ${name} loses its link by ${kind}`, async () => {
      act(bench.peer)
      await bench.breach(kind, text)
    })

  test('a guest whose stats are nonsense loses its link, and the asker hears it', async () => {
    const asked = bench.link.stats()
    bench.peer.send(FrameType.stats, Flag.answer, 0, JSON.stringify({ ...stats, memoryBytes: -1 }))
    await assert.rejects(asked, /memoryBytes must be a number from 0/)
    await bench.breach('json', /memoryBytes/)
  })

  test('a guest that resumes with another epoch loses its link', async () => {
    const asked = bench.link.resume(resume)
    bench.peer.json(FrameType.resumed, 0, { epoch: 'e1' })
    await assert.rejects(asked, /RESUMED that was not asked for/)
    await bench.breach('phase', /RESUMED/)
  })

  test('a HELLO of another role or epoch loses the link', async () => {
    for (const [role, epoch, text] of [
      ['runtime', 'e1', /HELLO of a runtime/],
      ['init', 'e9', /epoch of another/],
    ] as const) {
      const fresh = new Bench()
      fresh.peer.hello(epoch, role)
      await fresh.breach('phase', text)
    }
  })

  test('a HELLO without the times of the boot loses the link', async () => {
    const fresh = new Bench()
    fresh.peer.hello('e1', 'init')
    await fresh.breach('json', /kernelMs must be a number from 0/)
  })

  test('a guest that asks by PING and reads no answers loses its link', async () => {
    const [host, guest] = channelPair()
    const calls: unknown[] = []
    const link = new InitLink(Object.assign(host, { _write: () => {} }), {
      epoch: 'e1',
      isRestored: true,
      handlers: { onHello() {}, onExit() {}, onFail() {}, onClosed: (error) => calls.push(error) },
    })
    const peer = new GuestPeer(guest, () => {})
    for (let round = 0; round < 2_000; round++) peer.send(FrameType.ping, 0, 0, Buffer.alloc(64))
    await tick()
    await tick()
    assert.match(String(calls[0]), /PING without reading the answers/)
    link.close()
  })
})
