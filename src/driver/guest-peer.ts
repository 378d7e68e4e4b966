import type { Duplex } from 'node:stream'
import type { FunctionError } from '../domain/invocation.ts'
import { ReceiveHalf, SendHalf } from '../wire/flow.ts'
import { Flag, FrameDecoder, FrameType } from '../wire/frame.ts'
import { FrameWriter } from '../wire/frame-writer.ts'
import type { BindMessage, ConfigureMessage, InvokeMessage } from '../wire/messages.ts'
import { ServiceStream } from '../wire/service-stream.ts'

export interface GuestPeerOptions {
  readonly epoch: string
  readonly role: 'runtime' | 'supervisor'
  readonly runtime: string
  readonly version: string
  readonly isBusy?: boolean
  readonly handlers: GuestPeerHandlers
}

export interface GuestPeerHandlers {
  onConfigure?(message: ConfigureMessage): void
  onBind?(message: BindMessage): void
  /** The whole event has come in. */
  onInvoke?(invocation: GuestInvocation): void
  onPrepareSnapshot?(): void
  onShutdown?(): void
}

/** The guest's end of a channel, in this process: what the fake driver's runtimes and a plain process's output speak through.
 *  The twin of HostLink, without its distrust: the peer is the platform itself. */
export class GuestPeer {
  readonly #channel: Duplex
  readonly #writer: FrameWriter
  readonly #handlers: GuestPeerHandlers
  readonly #invocations = new Map<number, GuestInvocation>()
  readonly #services = new Map<number, ServiceStream>()
  /** PINGs get no answer. */
  isMute = false
  #lastService = 0

  constructor(channel: Duplex, options: GuestPeerOptions) {
    this.#channel = channel
    this.#writer = new FrameWriter(channel)
    this.#handlers = options.handlers
    const decoder = new FrameDecoder((type, _flags, stream, payload) => this.#receive(type, _flags, stream, payload))
    channel.on('data', (chunk: Buffer) => decoder.push(chunk))
    channel.on('error', () => channel.destroy())
    const { epoch, role, runtime, version, isBusy } = options
    this.#json(FrameType.hello, 0, { protocol: 1, role, epoch, runtime, version, pid: 1, isBusy })
  }

  ready(loadMs: number): void {
    this.#json(FrameType.ready, 0, { loadMs })
  }

  /** The start failed: no READY follows. */
  failInit(error: FunctionError, phase: string): void {
    this.#json(FrameType.fail, 0, { ...error, phase })
  }

  log(stream: number, fd: 1 | 2, text: string | Buffer): void {
    const bytes = Buffer.from(text)
    for (let at = 0; at < bytes.length; at += 65_536)
      this.#writer.frame(FrameType.log, fd, stream, bytes.subarray(at, at + 65_536))
  }

  open(service: string): Duplex {
    const id = (this.#lastService += 2)
    const stream = new ServiceStream(this.#writer, id, () => this.#services.delete(id))
    this.#services.set(id, stream)
    this.#json(FrameType.open, id, { service })
    return stream
  }

  /** Bytes as they are, for tests of what a hostile guest can do. */
  raw(bytes: Uint8Array): void {
    this.#channel.write(bytes)
  }

  close(): void {
    this.#writer.flush()
    this.#channel.end()
  }

  #json(type: FrameType, stream: number, value: unknown): void {
    this.#writer.frame(type, 0, stream, JSON.stringify(value))
  }

  #receive(type: FrameType, flags: number, stream: number, payload: Buffer): void {
    switch (type) {
      case FrameType.configure:
        return this.#handlers.onConfigure?.(JSON.parse(payload.toString()))
      case FrameType.bind:
        return this.#handlers.onBind?.(JSON.parse(payload.toString()))
      case FrameType.prepareSnapshot:
        return this.#handlers.onPrepareSnapshot?.()
      case FrameType.ping:
        if (this.isMute) return undefined
        return flags === Flag.pong ? undefined : this.#writer.frame(FrameType.ping, Flag.pong, 0, payload)
      case FrameType.shutdown:
        return this.#handlers.onShutdown?.()
      case FrameType.invoke: {
        const message: InvokeMessage = JSON.parse(payload.toString())
        const done = (): void => void this.#invocations.delete(stream)
        this.#invocations.set(stream, new GuestInvocation(this.#writer, stream, { message, peer: this, done }))
        return undefined
      }
    }
    if ((stream & 1) === 1) this.#receiveOnInvocation(type, flags, stream, payload)
    else this.#receiveOnService(type, flags, stream, payload)
  }

  #receiveOnInvocation(type: FrameType, flags: number, stream: number, payload: Buffer): void {
    const invocation = this.#invocations.get(stream)
    if (invocation?.receive(type, flags, payload) === true) this.#handlers.onInvoke?.(invocation)
  }

  #receiveOnService(type: FrameType, flags: number, stream: number, payload: Buffer): void {
    const service = this.#services.get(stream)
    if (type === FrameType.data) service?.receiveData(payload, (flags & Flag.fin) !== 0)
    else if (type === FrameType.end) service?.receiveEnd()
    else if (type === FrameType.credit) service?.receiveCredit(payload.readUInt32BE(0))
    else service?.receiveCancel()
  }
}

/** One invocation as the guest sees it. */
export class GuestInvocation {
  readonly message: InvokeMessage
  readonly #peer: GuestPeer
  readonly #writer: FrameWriter
  readonly #stream: number
  readonly #done: () => void
  readonly #send: SendHalf
  readonly #receive: ReceiveHalf
  readonly #abort = new AbortController()
  #parts: Buffer[] = []

  constructor(
    writer: FrameWriter,
    stream: number,
    options: { message: InvokeMessage; peer: GuestPeer; done: () => void },
  ) {
    this.#writer = writer
    this.#stream = stream
    this.message = options.message
    this.#peer = options.peer
    this.#done = options.done
    this.#send = new SendHalf(writer, stream)
    this.#receive = new ReceiveHalf(writer, stream)
  }

  /** Aborted when the host sends CANCEL. */
  get signal(): AbortSignal {
    return this.#abort.signal
  }

  get event(): Buffer {
    return Buffer.concat(this.#parts)
  }

  log(fd: 1 | 2, text: string | Buffer): void {
    this.#peer.log(this.#stream, fd, text)
  }

  head(status: number, headers: readonly (readonly [string, string])[]): void {
    this.#writer.frame(FrameType.head, 0, this.#stream, JSON.stringify({ status, headers }))
  }

  write(chunk: Uint8Array): void {
    this.#send.write(chunk, false)
  }

  end(openWork = false): void {
    const finish = (): void => {
      this.#writer.frame(FrameType.end, openWork ? Flag.fin | Flag.openWork : Flag.fin, this.#stream)
      if (!openWork) this.#done()
    }
    if (this.#send.isBlocked) this.#send.onDrained = finish
    else finish()
  }

  fail(error: FunctionError, openWork = false): void {
    const flags = openWork ? Flag.fin | Flag.openWork : Flag.fin
    this.#writer.frame(FrameType.fail, flags, this.#stream, JSON.stringify(error))
    if (!openWork) this.#done()
  }

  idle(): void {
    this.#writer.frame(FrameType.idle, 0, this.#stream)
    this.#done()
  }

  /** Takes one frame; true when it completed the event. */
  receive(type: FrameType, flags: number, payload: Buffer): boolean {
    if (type === FrameType.credit) this.#send.grant(payload.readUInt32BE(0))
    if (type === FrameType.cancel) this.#abort.abort(new Error('The host cancelled the invocation.'))
    if (type === FrameType.data) {
      this.#parts.push(payload)
      this.#receive.receive(payload.length)
      this.#receive.take(payload.length)
    }
    return type === FrameType.end || (type === FrameType.data && (flags & Flag.fin) !== 0)
  }
}
