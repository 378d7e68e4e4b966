import assert from 'node:assert/strict'
import { Duplex } from 'node:stream'
import { setImmediate as tick } from 'node:timers/promises'
import { FrameType, type Frame } from '../../src/wire/frame.ts'
import { GuestPeer } from '../../src/wire/guest-peer.ts'
import { HostLink, type InvokeHandlers, type InvokeStream } from '../../src/wire/link.ts'
import { WireError, type WireErrorKind } from '../../src/wire/wire-error.ts'

/** Two ends of a byte stream in memory. */
function channelPair(): [Duplex, Duplex] {
  const ends: Duplex[] = []
  for (const other of [1, 0])
    ends.push(
      new Duplex({
        read() {},
        write(chunk: Buffer, _encoding, done) {
          ends[other]?.push(chunk)
          done()
        },
        final(done) {
          ends[other]?.push(null)
          done()
        },
      }),
    )
  const [host, guest] = ends
  assert.ok(host !== undefined && guest !== undefined)
  return [host, guest]
}

export const bind = {
  function: 'f',
  version: '1',
  project: 'default',
  handler: 'index.handler',
  memoryMib: 256,
  timeoutMs: 30_000,
  env: {},
  taskRoot: '/var/task',
  cacheRoot: null,
  apiUrl: '',
  region: 'local',
  accountId: '0',
  logGroup: 'g',
  logStream: 's',
  purpose: 'serve',
} as const
export const event = {
  id: 'a',
  deadlineMs: 1,
  contentType: 'application/json',
  traceparent: null,
  kind: 'invoke',
} as const

/** One link with a peer; everything that is called back lands in `calls`. */
export class LinkBench {
  readonly calls: unknown[][] = []
  readonly frames: Frame[] = []
  readonly host: Duplex
  readonly peer: GuestPeer
  readonly link: HostLink
  opened: Duplex[] = []
  isServiceOffered = true

  constructor() {
    const [host, guest] = channelPair()
    this.host = host
    this.peer = new GuestPeer(guest, (frame) => this.frames.push(frame))
    const note =
      (name: string) =>
      (...rest: unknown[]) => {
        this.calls.push([name, ...rest])
      }
    this.link = new HostLink(host, {
      epoch: 'e1',
      role: 'runtime',
      handlers: {
        onHello: note('hello'),
        onReady: note('ready'),
        onInitFail: note('initFail'),
        onLog: (stream, fd, text) => this.calls.push(['log', stream, fd, text.toString()]),
        onOpen: (_service, stream) => {
          this.opened.push(stream)
          return this.isServiceOffered
        },
        onClosed: note('closed'),
      },
    })
  }

  async greet(): Promise<void> {
    this.peer.hello('e1')
    await tick()
    this.link.configure({ instance: 'i-1', nowMs: 1, logBytesPerSecond: 1 })
    this.link.bind(bind)
    await tick()
  }

  async ready(): Promise<void> {
    await this.greet()
    this.peer.json(FrameType.ready, 0, { loadMs: 1 })
    await tick()
    this.calls.length = 0
    this.frames.length = 0
  }

  invoke(handlers: Partial<InvokeHandlers> = {}): InvokeStream {
    return this.link.invoke(event, {
      onHead: (head) => this.calls.push(['head', head]),
      onData: (chunk) => this.calls.push(['data', chunk.toString()]),
      onEnd: (openWork) => this.calls.push(['end', openWork]),
      onFail: (error, openWork) => this.calls.push(['fail', error, openWork]),
      onIdle: () => this.calls.push(['idle']),
      ...handlers,
    })
  }

  get closedBy(): WireErrorKind | null | undefined {
    const closed = this.calls.filter(([name]) => name === 'closed')
    assert.ok(closed.length <= 1, 'onClosed was called twice')
    const error = closed[0]?.[1]
    return closed.length === 0 ? undefined : error instanceof WireError ? error.kind : null
  }

  sent(type: FrameType): Frame[] {
    return this.frames.filter((frame) => frame.type === type)
  }
}
