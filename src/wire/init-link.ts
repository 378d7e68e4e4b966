import assert from 'node:assert'
import type { Duplex } from 'node:stream'
import { AppError } from '../domain/error.ts'
import { Flag, FrameDecoder, frameName, FrameType } from './frame.ts'
import { FrameWriter } from './frame-writer.ts'
import { parseInitFail, parseInitHello, parseResumed, parseStats } from './init-messages.ts'
import type { GuestStats, InitBind, InitConfigure, InitFailure, InitHello, InitResume } from './init-messages.ts'
import { parseHello, parseReady } from './messages.ts'
import { WireError } from './wire-error.ts'

export interface InitLinkHandlers {
  onHello(hello: InitHello): void
  /** Called once at most: the runtime has ended. Its last output may still be on its way: the guest powers off when the host has read it all. */
  onExit(exit: InitFailure): void
  /** What no promise waits for: the guest could not do CONFIGURE and powers off, or the host broke the protocol on another channel (phase `channel`). */
  onFail(failure: InitFailure): void
  /** Called once: with the breach that killed the link, the channel's error, or null for its end or `close`. */
  onClosed(error: WireError | Error | null): void
}

export interface InitLinkOptions {
  /** Expected in HELLO. */
  readonly epoch: string
  /** For a VM that comes from a snapshot, or that an earlier platform left: `resume` comes first, and no HELLO need come. */
  readonly isRestored: boolean
  readonly handlers: InitLinkHandlers
}

interface Waiter<T> {
  readonly resolve: (value: T) => void
  readonly reject: (error: Error) => void
}

/** The guest's clock is behind by what its frame took to come, at most by what the answer took. */
const clockMsMax = 25
const clockRoundsMax = 5
/** BIND and RESUME take PID 1 milliseconds, a second or two while fifty machines start at once on two cores. One that says nothing for this
 *  long has been taken over, or hangs. What may be asked of a paused machine has no limit: it answers when it goes on. */
const answerMsMax = 20_000
/** While the guest leaves this much unread, it may not ask for more: an honest one has nothing to ask. */
const unreadBytesMax = 65_536

/*
 *  fresh --HELLO--> greeted --configure--> running --prepareSnapshot--> quiet --resume--> running
 *  restored --resume--> running                                   (any) --close, breach, EOF--> closed
 */
type InitPhase = 'fresh' | 'greeted' | 'running' | 'quiet' | 'restored' | 'closed'

/** The driver's end of a VM's `init` channel: PID 1 of the guest is told what to do and says what became of it. Everything from the
 *  guest is checked; the first breach destroys the channel, and the driver ends the VM. Twin: guest/src/init. */
export class InitLink {
  readonly #channel: Duplex
  readonly #options: InitLinkOptions
  readonly #writer: FrameWriter
  readonly #decoder = new FrameDecoder((type, flags, stream, payload) => this.#receive(type, flags, stream, payload))
  #phase: InitPhase
  #bind: Waiter<{ loadMs: number }> | null = null
  #resume: (Waiter<void> & { epoch: string | null }) | null = null
  #stats: Waiter<GuestStats>[] = []
  #pings: Waiter<void>[] = []
  #hasExited = false
  #pingsAnswered = 0
  #pingsSent = 0

  constructor(channel: Duplex, options: InitLinkOptions) {
    this.#channel = channel
    this.#options = options
    this.#phase = options.isRestored ? 'restored' : 'fresh'
    this.#writer = new FrameWriter(channel)
    channel.on('data', (chunk: Buffer) => this.#push(chunk))
    channel.on('end', () => this.#close(null))
    channel.on('error', (error: Error) => this.#close(error))
    channel.on('close', () => this.#close(null))
  }

  /** Starts the runtime; the other two channels then say HELLO with `message.epoch`, or `onFail` says why not. */
  configure(message: InitConfigure): void {
    assert(this.#phase === 'greeted' || this.#phase === 'closed', `configure in phase ${this.#phase}`)
    if (this.#phase === 'greeted') this.#phase = 'running'
    this.#json(FrameType.configure, message)
  }

  /** Files, limits and network of the Version. Rejects with driver_failed, naming the guest's step. */
  bind(message: InitBind): Promise<{ loadMs: number }> {
    assert(this.#bind === null, 'bind while one is under way')
    const answer = this.#ask<{ loadMs: number }>((waiter) => {
      this.#bind = waiter
      this.#json(FrameType.bind, message)
    })
    return this.#inTime(answer, 'BIND')
  }

  /** Resolves when the guest will say nothing more: everything it sent before has been read. The agent has made the runtime quiet before. */
  prepareSnapshot(): Promise<void> {
    assert(this.#phase === 'running' || this.#phase === 'closed', `prepareSnapshot in phase ${this.#phase}`)
    if (this.#phase === 'running') this.#phase = 'quiet'
    this.#json(FrameType.prepareSnapshot, {})
    return this.#inTime(this.ping(), 'PREPARE_SNAPSHOT')
  }

  /** First act after a restore: randomness, clock and names become this VM's own. Then the other two channels say HELLO with `message.epoch`.
   *  Rejects with driver_failed, naming the guest's step. */
  resume(message: InitResume): Promise<void> {
    assert(this.#phase !== 'fresh' && this.#phase !== 'greeted', `resume in phase ${this.#phase}`)
    if (this.#phase !== 'closed') this.#phase = 'running'
    return this.#sendResume(message, message.epoch)
  }

  /** After a pause: the clock alone. */
  setClock(nowMs: number): Promise<void> {
    assert(this.#phase === 'running' || this.#phase === 'closed', `setClock in phase ${this.#phase}`)
    return this.#sendResume({ nowMs }, null)
  }

  /** Sets the clock until an answer comes soon enough to know that it is right within that time; on a machine too busy for it, as often as is sensible. */
  async syncClock(now: () => number = Date.now): Promise<void> {
    for (let round = 0; round < clockRoundsMax; round++) {
      const sentAt = now()
      await this.setClock(sentAt)
      if (now() - sentAt <= clockMsMax) return
    }
  }

  stats(options: { resetPeak: boolean } = { resetPeak: false }): Promise<GuestStats> {
    return this.#ask((waiter) => {
      this.#stats.push(waiter)
      this.#json(FrameType.stats, options)
    })
  }

  /** Resolves at the answer, which comes after everything the guest sent before. */
  ping(): Promise<void> {
    return this.#ask((waiter) => {
      this.#pings.push(waiter)
      this.#writer.frame(FrameType.ping, Flag.none, 0, pingPayload((this.#pingsSent += 1)))
    })
  }

  /** SIGTERM to the runtime, SIGKILL after `graceMs`, then the VM powers itself off. */
  shutdown(graceMs: number): void {
    this.#json(FrameType.shutdown, { graceMs })
  }

  close(): void {
    this.#close(null)
  }

  #ask<T>(send: (waiter: Waiter<T>) => void): Promise<T> {
    if (this.#phase === 'closed') return Promise.reject(closedError(null))
    return new Promise((resolve, reject) => send({ resolve, reject }))
  }

  #sendResume(message: object, epoch: string | null): Promise<void> {
    assert(this.#resume === null, 'resume while one is under way')
    const answer = this.#ask<void>((waiter) => {
      this.#resume = { ...waiter, epoch }
      this.#json(FrameType.resume, message)
    })
    return this.#inTime(answer, 'RESUME')
  }

  async #inTime<T>(answer: Promise<T>, what: string): Promise<T> {
    const late = (): void => this.#close(new WireError('phase', `No answer to ${what} within ${answerMsMax / 1000} s.`))
    const timer = setTimeout(late, answerMsMax)
    try {
      return await answer
    } finally {
      clearTimeout(timer)
    }
  }

  #json(type: FrameType, message: object): void {
    if (this.#phase !== 'closed') this.#writer.frame(type, 0, 0, JSON.stringify(message))
  }

  #push(chunk: Buffer): void {
    try {
      this.#decoder.push(chunk)
    } catch (error) {
      if (!(error instanceof WireError)) throw error
      this.#close(error)
    }
  }

  #receive(type: FrameType, flags: number, stream: number, payload: Buffer): void {
    if (stream !== 0) throw new WireError('stream', `${frameName(type)} on stream ${stream} of the init channel.`)
    if (this.#phase === 'fresh' && type !== FrameType.hello && type !== FrameType.fail)
      throw new WireError('phase', `${frameName(type)} before HELLO.`)
    switch (type) {
      case FrameType.hello:
        return this.#receiveHello(payload)
      case FrameType.ready:
        return this.#receiveReady(payload)
      case FrameType.resumed:
        return this.#receiveResumed(payload)
      case FrameType.stats:
        return this.#receiveStats(flags, payload)
      case FrameType.ping:
        return this.#receivePing(flags, payload)
      case FrameType.fail:
        return this.#receiveFail(payload)
      default:
        throw new WireError('phase', `${frameName(type)} is not for the guest to send on the init channel.`)
    }
  }

  #receiveHello(payload: Buffer): void {
    if (this.#phase !== 'fresh' && !this.#options.isRestored) throw new WireError('phase', 'HELLO for a second time.')
    const hello = parseHello(payload)
    if (hello.role !== 'init') throw new WireError('phase', `HELLO of a ${hello.role} on the channel of the init.`)
    // A VM that an earlier platform left greets the new connection with the epoch it had.
    if (this.#options.isRestored) return
    if (hello.epoch !== this.#options.epoch) throw new WireError('phase', 'HELLO with the epoch of another Instance.')
    const initHello = parseInitHello(payload)
    this.#phase = 'greeted'
    this.#options.handlers.onHello(initHello)
  }

  #receiveReady(payload: Buffer): void {
    const waiter = this.#bind
    if (waiter === null) throw new WireError('phase', 'READY that was not asked for.')
    const ready = parseReady(payload)
    this.#bind = null
    waiter.resolve(ready)
  }

  #receiveResumed(payload: Buffer): void {
    const waiter = this.#resume
    const { epoch } = parseResumed(payload)
    if (waiter === null || waiter.epoch !== epoch) throw new WireError('phase', 'RESUMED that was not asked for.')
    this.#resume = null
    waiter.resolve()
  }

  #receiveStats(flags: number, payload: Buffer): void {
    const waiter = flags === Flag.answer ? this.#stats[0] : undefined
    if (waiter === undefined) throw new WireError('phase', 'STATS that was not asked for.')
    const stats = parseStats(payload)
    this.#stats.shift()
    waiter.resolve(stats)
  }

  #receivePing(flags: number, payload: Buffer): void {
    if (flags !== Flag.pong) {
      if (this.#writer.pendingBytes > unreadBytesMax) throw new WireError('phase', 'PING without reading the answers.')
      return this.#writer.frame(FrameType.ping, Flag.pong, 0, payload)
    }
    const waiter = this.#pings[0]
    if (waiter === undefined || !pingPayload(this.#pingsAnswered + 1).equals(payload))
      throw new WireError('phase', 'PING answer that was not asked for.')
    this.#pingsAnswered += 1
    this.#pings.shift()
    waiter.resolve()
  }

  #receiveFail(payload: Buffer): void {
    const failure = parseInitFail(payload)
    if (failure.phase === 'exit') {
      if (this.#hasExited) throw new WireError('phase', 'The runtime exited for a second time.')
      this.#hasExited = true
      return this.#options.handlers.onExit(failure)
    }
    const waiter = failure.phase === 'bind' ? this.#bind : failure.phase === 'resume' ? this.#resume : null
    if (waiter === null) return this.#options.handlers.onFail(failure)
    if (failure.phase === 'bind') this.#bind = null
    else this.#resume = null
    waiter.reject(failedError(failure))
  }

  #close(error: WireError | Error | null): void {
    if (this.#phase === 'closed') return
    this.#phase = 'closed'
    this.#decoder.stop()
    this.#channel.destroy()
    const waiters = [this.#bind, this.#resume, ...this.#stats, ...this.#pings]
    this.#bind = null
    this.#resume = null
    this.#stats = []
    this.#pings = []
    for (const waiter of waiters) waiter?.reject(closedError(error))
    this.#options.handlers.onClosed(error)
  }
}

function pingPayload(count: number): Buffer {
  const payload = Buffer.alloc(8)
  payload.writeUInt32BE(count, 4)
  return payload
}

function failedError({ phase, errorType, errorMessage }: InitFailure): AppError {
  return new AppError('driver_failed', `The microVM could not ${phase}: ${errorMessage}`, {
    detail: errorType,
    retryable: true,
  })
}

function closedError(cause: Error | null): AppError {
  const reason = cause === null ? 'its channel was closed' : cause.message
  const options = cause === null ? { retryable: true } : { retryable: true, cause }
  return new AppError('driver_failed', `The microVM does not answer: ${reason}`, options)
}
