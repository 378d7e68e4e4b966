import type { Duplex } from 'node:stream'
import { FrameDecoder, FrameType, type Frame } from './frame.ts'
import { FrameWriter } from './frame-writer.ts'
import type { HelloRole } from './messages.ts'

/** The guest's end of a channel without any rules: sends what it is told and shows what came. For tests and for the fake driver,
 *  which must also be able to misbehave. */
export class GuestPeer {
  readonly channel: Duplex
  readonly #writer: FrameWriter
  readonly #receive: (frame: Frame) => void

  constructor(channel: Duplex, receive: (frame: Frame) => void) {
    this.channel = channel
    this.#writer = new FrameWriter(channel)
    this.#receive = receive
    const decoder = new FrameDecoder((type, flags, stream, payload) => this.#receive({ type, flags, stream, payload }))
    channel.on('data', (chunk: Buffer) => decoder.push(chunk))
    channel.on('error', () => {})
  }

  send(type: FrameType, flags: number, stream: number, payload: Uint8Array | string = ''): void {
    this.#writer.frame(type, flags, stream, payload)
  }

  json(type: FrameType, stream: number, message: unknown): void {
    this.send(type, 0, stream, JSON.stringify(message))
  }

  credit(stream: number, bytes: number): void {
    this.#writer.credit(stream, bytes)
  }

  hello(epoch: string, role: HelloRole = 'runtime'): void {
    this.json(FrameType.hello, 0, { protocol: 1, role, epoch, runtime: 'fake', version: '1', pid: 1 })
  }
}
