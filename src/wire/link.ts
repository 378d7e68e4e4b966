import assert from 'node:assert'
import type { Duplex } from 'node:stream'
import type { FunctionError } from '../domain/invocation.ts'
import { Flag, FrameDecoder, frameName, FrameType } from './frame.ts'
import { FrameWriter } from './frame-writer.ts'
import { Invocation, type InvokeHandlers, type InvokeStream } from './invocation.ts'
import { bindText, parseFail, parseHello, parseOpen, parseReady } from './messages.ts'
import type { BindMessage, ConfigureMessage, Hello, InvokeMessage } from './messages.ts'
import { ServiceStream } from './service-stream.ts'
import { WireError } from './wire-error.ts'

export type { InvokeHandlers, InvokeStream } from './invocation.ts'

export interface HostLinkHandlers {
  onHello(hello: Hello): void
  onReady(ready: { loadMs: number }): void
  onInitFail(error: FunctionError & { phase: string }): void
  /** `text` may be part of a line. It is a view of what was read: copy it to keep it long. */
  onLog(stream: number, fd: 1 | 2, text: Buffer): void
  /** The guest wants a host service; false refuses it with FAIL. */
  onOpen(service: string, stream: Duplex): boolean
  /** Called once: with the breach that killed the link, the channel's error, or null for its end or `close`. Invocations that
   *  were open get no further call. */
  onClosed(error: WireError | Error | null): void
}

export interface HostLinkOptions {
  readonly epoch: string
  readonly role: 'runtime' | 'supervisor'
  readonly handlers: HostLinkHandlers
  /** An earlier host spoke over this channel: what was said to it, until HELLO with `epoch`, is dropped unread. */
  readonly isTakenOver?: boolean
}

/** What may lie in a channel of what was said to an earlier host: what PID 1 of a guest holds at most, and a socket's buffer. */
const staleBytesMax = 1024 * 1024
/** Streams to host services that one Instance may hold; each can pin two windows of memory. */
const serviceStreamsMax = 64
/** While a guest leaves this much unread, nothing more is read from it: so its pings and opens cannot pile up answers here. */
const unreadBytesMax = 1024 * 1024

/*
 *  fresh --HELLO--> greeted --configure--> configured --bind--> bound --READY--> ready
 *                                                                  \--FAIL#0--> failed        (any) --close, breach, EOF--> closed
 */
type LinkPhase = 'fresh' | 'greeted' | 'configured' | 'bound' | 'ready' | 'failed' | 'closed'

/** The host's end of one channel into an Instance. Everything from the guest is checked; the first breach destroys the channel.
 *  Callbacks run inside the channel's `data` event, frames sent in one tick leave in one write. */
export class HostLink {
  readonly #channel: Duplex
  readonly #options: HostLinkOptions
  readonly #writer: FrameWriter
  readonly #decoder = new FrameDecoder((type, flags, stream, payload) => this.#receive(type, flags, stream, payload))
  readonly #invocations = new Map<number, Invocation>()
  readonly #services = new Map<number, ServiceStream>()
  #pings: { payload: Buffer; settle: { resolve: () => void; reject: (error: Error) => void } }[] = []
  #pingCount = 0
  #phase: LinkPhase = 'fresh'
  #lastInvocation = -1
  #lastService = 0
  #isPausedByOwner = false
  #isPausedByBacklog = false
  #staleBytes = 0

  constructor(channel: Duplex, options: HostLinkOptions) {
    this.#channel = channel
    this.#options = options
    this.#writer = new FrameWriter(channel)
    channel.on('data', (chunk: Buffer) => this.#push(chunk))
    channel.on('drain', () => this.#resumeAfterBacklog())
    channel.on('end', () => this.#close(null))
    channel.on('error', (error: Error) => this.#close(error))
    channel.on('close', () => this.#close(null))
  }

  configure(message: ConfigureMessage): void {
    assert(this.#phase === 'greeted', `configure in phase ${this.#phase}`)
    this.#phase = 'configured'
    this.#writer.frame(FrameType.configure, 0, 0, JSON.stringify(message))
  }

  /** Throws invalid when the environment is too large for one frame. */
  bind(message: BindMessage): void {
    assert(this.#phase === 'configured', `bind in phase ${this.#phase}`)
    const text = bindText(message)
    this.#phase = 'bound'
    this.#writer.frame(FrameType.bind, 0, 0, text)
  }

  /** Starts an invocation; allowed before READY, so that a cold start costs no extra round trip. */
  invoke(message: InvokeMessage, handlers: InvokeHandlers): InvokeStream {
    assert(['bound', 'ready', 'failed', 'closed'].includes(this.#phase), `invoke in phase ${this.#phase}`)
    this.#lastInvocation += 2
    const id = this.#lastInvocation
    const invocation = new Invocation(this.#writer, id, handlers)
    if (this.#phase === 'closed') return invocation
    this.#invocations.set(id, invocation)
    this.#writer.frame(FrameType.invoke, 0, id, JSON.stringify(message))
    return invocation
  }

  /** Resolves at the answer, which comes after everything the guest sent before; rejects when the link closes first. */
  ping(): Promise<void> {
    if (this.#phase === 'closed') return Promise.reject(new Error('The channel is closed.'))
    const payload = Buffer.alloc(8)
    payload.writeUInt32BE((this.#pingCount += 1), 4)
    return new Promise((resolve, reject) => {
      this.#pings.push({ payload, settle: { resolve, reject } })
      this.#writer.frame(FrameType.ping, 0, 0, payload)
    })
  }

  /** Runs the `beforeSnapshot` hooks; resolves when the runtime will say nothing more. No invocation may be open, and none may follow on this
   *  link: what comes after a restore is a new one. Rejects when the link closes first. */
  prepareSnapshot(): Promise<void> {
    assert(this.#invocations.size === 0, 'prepareSnapshot with an invocation open')
    this.#writer.frame(FrameType.prepareSnapshot, 0, 0, '{}')
    return this.ping()
  }

  shutdown(graceMs: number): void {
    this.#writer.frame(FrameType.shutdown, 0, 0, JSON.stringify({ graceMs }))
  }

  /** Stops reading the channel, after what was already read; the guest soon blocks or drops its logs. */
  pauseReading(): void {
    this.#isPausedByOwner = true
    this.#channel.pause()
  }

  resumeReading(): void {
    this.#isPausedByOwner = false
    if (!this.#isPausedByBacklog && this.#phase !== 'closed') this.#channel.resume()
  }

  /** Keeps back what is sent from now on, until `release`. */
  hold(): void {
    this.#writer.hold()
  }

  release(): void {
    this.#writer.release()
  }

  close(): void {
    this.#close(null)
  }

  #push(chunk: Buffer): void {
    try {
      this.#decoder.push(chunk)
    } catch (error) {
      if (!(error instanceof WireError)) throw error
      this.#close(error)
      return
    }
    if (this.#writer.pendingBytes > unreadBytesMax && this.#phase !== 'closed') this.#pauseForBacklog()
  }

  #pauseForBacklog(): void {
    this.#isPausedByBacklog = true
    this.#channel.pause()
    // Without this a backlog of this tick's frames would never cause a `drain`.
    this.#writer.flush()
    if (this.#channel.writableLength === 0) this.#resumeAfterBacklog()
  }

  #resumeAfterBacklog(): void {
    if (!this.#isPausedByBacklog) return
    this.#isPausedByBacklog = false
    if (!this.#isPausedByOwner && this.#phase !== 'closed') this.#channel.resume()
  }

  #receive(type: FrameType, flags: number, stream: number, payload: Buffer): void {
    if (this.#phase === 'fresh') return this.#receiveHello(type, payload)
    switch (type) {
      case FrameType.log:
        return this.#receiveLog(stream, flags, payload)
      case FrameType.ping:
        return this.#receivePing(flags, payload)
      case FrameType.ready:
        return this.#receiveReady(payload)
      case FrameType.open:
        return this.#receiveOpen(stream, payload)
      case FrameType.fail:
        if (stream === 0) return this.#receiveInitFail(payload)
        break
      case FrameType.hello:
        // A guest that saw its host change only later greets it again.
        if (this.#options.isTakenOver === true && parseHello(payload).epoch === this.#options.epoch) return
    }
    if ((stream & 1) === 1) return this.#receiveOnInvocation(type, flags, stream, payload)
    if (stream !== 0) return this.#receiveOnService(type, flags, stream, payload)
    throw new WireError('phase', `${frameName(type)} is not for the guest to send in phase ${this.#phase}.`)
  }

  #receiveHello(type: FrameType, payload: Buffer): void {
    if (this.#options.isTakenOver === true && this.#isStale(type, payload)) return
    if (type !== FrameType.hello) throw new WireError('phase', `${frameName(type)} before HELLO.`)
    const hello = parseHello(payload)
    const { epoch, role } = this.#options
    if (hello.role !== role) throw new WireError('phase', `HELLO of a ${hello.role} on the channel of the ${role}.`)
    if (hello.epoch !== epoch) throw new WireError('phase', 'HELLO with the epoch of another Instance.')
    this.#phase = 'greeted'
    this.#options.handlers.onHello(hello)
  }

  #receiveReady(payload: Buffer): void {
    if (this.#phase !== 'bound') throw new WireError('phase', `READY in phase ${this.#phase}.`)
    const ready = parseReady(payload)
    this.#phase = 'ready'
    this.#options.handlers.onReady(ready)
  }

  /** Of an earlier epoch: said to another host. */
  #isStale(type: FrameType, payload: Buffer): boolean {
    if (type === FrameType.hello && parseHello(payload).epoch === this.#options.epoch) return false
    this.#staleBytes += payload.length
    return this.#staleBytes <= staleBytesMax
  }

  #receiveInitFail(payload: Buffer): void {
    if (this.#phase === 'ready' || this.#phase === 'failed')
      throw new WireError('phase', `FAIL on stream 0 in phase ${this.#phase}.`)
    const error = parseFail(payload)
    this.#phase = 'failed'
    this.#options.handlers.onInitFail(error)
  }

  #receiveLog(stream: number, flags: number, payload: Buffer): void {
    if (stream > this.#lastInvocation && stream !== 0) throw new WireError('stream', `LOG on unknown stream ${stream}.`)
    this.#options.handlers.onLog(stream, flags === Flag.stdout ? 1 : 2, payload)
  }

  #receivePing(flags: number, payload: Buffer): void {
    if (flags !== Flag.pong) return this.#writer.frame(FrameType.ping, Flag.pong, 0, payload)
    const ping = this.#pings.shift()
    if (ping?.payload.equals(payload) !== true) throw new WireError('phase', 'PING answer that was not asked for.')
    ping.settle.resolve()
  }

  #receiveOnInvocation(type: FrameType, flags: number, stream: number, payload: Buffer): void {
    if (this.#phase !== 'ready') throw new WireError('phase', `${frameName(type)} on stream ${stream} before READY.`)
    const invocation = this.#invocations.get(stream)
    if (invocation === undefined) {
      if (stream > this.#lastInvocation)
        throw new WireError('stream', `${frameName(type)} on unknown stream ${stream}.`)
      // These two may have crossed the end of the stream on the way.
      if (type === FrameType.credit || type === FrameType.cancel) return
      throw new WireError('phase', `${frameName(type)} on stream ${stream} after its end.`)
    }
    // Forgotten first: the handler of the end may start the next invocation.
    if (invocation.isLast(type, flags)) this.#invocations.delete(stream)
    invocation.receive(type, flags, payload)
  }

  #receiveOpen(stream: number, payload: Buffer): void {
    if (stream <= this.#lastService) throw new WireError('stream', `OPEN on used stream ${stream}.`)
    this.#lastService = stream
    const { service } = parseOpen(payload)
    if (this.#services.size >= serviceStreamsMax) return this.#refuse(stream, `more than ${serviceStreamsMax} streams`)
    const opened = new ServiceStream(this.#writer, stream, () => this.#services.delete(stream))
    // A service that destroys its end with an error has logged it; without a listener it would take the process down.
    opened.on('error', () => {})
    this.#services.set(stream, opened)
    if (this.#options.handlers.onOpen(service, opened)) return
    opened.receiveCancel()
    this.#refuse(stream, `service ${JSON.stringify(service)} is not offered`)
  }

  #refuse(stream: number, reason: string): void {
    const error = { errorType: 'Service.Refused', errorMessage: `Cannot open: ${reason}.`, stackTrace: [] }
    this.#writer.frame(FrameType.fail, Flag.fin, stream, JSON.stringify(error))
  }

  #receiveOnService(type: FrameType, flags: number, stream: number, payload: Buffer): void {
    const service = this.#services.get(stream)
    if (service === undefined) {
      // What was on its way when the host closed its end is dropped; an id never opened is a breach.
      if (stream <= this.#lastService) return
      throw new WireError('stream', `${frameName(type)} on unknown stream ${stream}.`)
    }
    if ((flags & Flag.openWork) !== 0) throw new WireError('flags', `OPEN_WORK on stream ${stream}.`)
    switch (type) {
      case FrameType.data:
        return service.receiveData(payload, flags === Flag.fin)
      case FrameType.end:
        return service.receiveEnd()
      case FrameType.credit:
        return service.receiveCredit(payload.readUInt32BE(0))
      case FrameType.cancel:
        return service.receiveCancel()
      default:
        throw new WireError('stream', `${frameName(type)} on stream ${stream}.`)
    }
  }

  #close(error: WireError | Error | null): void {
    if (this.#phase === 'closed') return
    this.#phase = 'closed'
    this.#decoder.stop()
    this.#channel.destroy()
    this.#invocations.clear()
    for (const service of [...this.#services.values()]) service.receiveCancel()
    const pings = this.#pings
    this.#pings = []
    for (const { settle } of pings) settle.reject(error ?? new Error('The channel is closed.'))
    this.#options.handlers.onClosed(error)
  }
}
