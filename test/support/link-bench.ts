import assert from 'node:assert/strict'
import type { Duplex } from 'node:stream'
import { setImmediate as tick } from 'node:timers/promises'
import { FrameType, type Frame } from '../../src/wire/frame.ts'
import { HostLink, type InvokeHandlers, type InvokeStream } from '../../src/wire/link.ts'
import { WireError, type WireErrorKind } from '../../src/wire/wire-error.ts'
import { bindMessage } from './bind-message.ts'
import { PeerBench } from './peer-bench.ts'

export const event = {
  id: 'a',
  deadlineMs: 1,
  contentType: 'application/json',
  traceparent: null,
  kind: 'invoke',
} as const

/** One link with a peer; everything that is called back lands in `calls`. */
export class LinkBench extends PeerBench {
  readonly link: HostLink
  opened: Duplex[] = []
  isServiceOffered = true

  constructor({ isTakenOver = false } = {}) {
    super()
    this.link = new HostLink(this.host, {
      epoch: 'e1',
      role: 'runtime',
      isTakenOver,
      handlers: {
        onHello: this.note('hello'),
        onReady: this.note('ready'),
        onInitFail: this.note('initFail'),
        onLog: (stream, fd, text) => this.calls.push(['log', stream, fd, text.toString()]),
        onOpen: (_service, stream) => {
          this.opened.push(stream)
          return this.isServiceOffered
        },
        onClosed: this.note('closed'),
      },
    })
  }

  async greet(): Promise<void> {
    this.peer.hello('e1')
    await tick()
    this.link.configure({ instance: 'i-1', nowMs: 1, logBytesPerSecond: 1 })
    this.link.bind(bindMessage)
    await tick()
  }

  async ready(): Promise<void> {
    await this.greet()
    this.peer.json(FrameType.ready, 0, { loadMs: 1 })
    await tick()
    this.clear()
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
