import { AppError } from '../domain/error.ts'
import type { Exit } from '../domain/driver.ts'
import type { Logger } from '../domain/logger.ts'
import { readJsonLines } from './json-lines.ts'
import type { Duplex } from 'node:stream'

/** One reply line holds at most this; the launcher keeps to it, so more means that it is not the launcher. */
const lineBytesMax = 64 * 1024

interface Waiting {
  readonly verb: string
  readonly instance: string
  readonly resolve: (reply: Reply) => void
  readonly reject: (error: AppError) => void
}

/** `stderr`: the last of what a VMM wrote there; empty for sandboxes. */
export type ExitReceiver = (exit: Exit, stderr: string) => void

export type Reply = Readonly<Record<string, unknown>>

const killed: Exit = { code: null, signal: 'SIGKILL', oom: false }

/** The privileged launcher's other end: requests by id, events by instance (docs/reference/launcher-protocol.md). When the channel
 *  ends, every request fails and every sandbox counts as exited: the launcher kills them before it goes, or the kernel does. VMs alone may live on. */
export class LauncherClient {
  readonly #channel: Duplex
  readonly #logger: Logger
  readonly #waiting = new Map<number, Waiting>()
  readonly #exits = new Map<string, ExitReceiver>()
  #nextId = 1
  #isClosed = false

  constructor(channel: Duplex, logger: Logger) {
    this.#channel = channel
    this.#logger = logger
    readJsonLines(channel, {
      lineBytesMax,
      onMessage: (message) => this.#receive(message),
      onInvalid: (line) => logger.error('launcher.line.invalid', { line: line.slice(0, 200) }),
      onClosed: (why) => this.#close(why ?? 'it ended', { ...killed, isLost: true }),
    })
  }

  get isClosed(): boolean {
    return this.#isClosed
  }

  /** Sends `verb` with `fields`. Throws driver_failed with the launcher's own sentence and the step that failed. */
  request(verb: string, fields: Readonly<Record<string, unknown>> = {}): Promise<Reply> {
    const instance = typeof fields['instance'] === 'string' ? fields['instance'] : ''
    return new Promise((resolve, reject) => {
      if (this.#isClosed) return reject(launcherGone(verb, instance))
      const id = this.#nextId++
      this.#waiting.set(id, { verb, instance, resolve, reject })
      this.#channel.write(`${JSON.stringify({ id, verb, ...fields })}\n`)
    })
  }

  /** Calls `receive` once, when `instance` has ended by itself or the launcher is gone. */
  onExited(instance: string, receive: ExitReceiver): void {
    this.#exits.set(instance, receive)
  }

  forget(instance: string): void {
    this.#exits.delete(instance)
  }

  close(): void {
    this.#channel.end()
    // The launcher ends all that is left.
    this.#close('closed by the agent', killed)
  }

  #receive(message: Reply): void {
    if (typeof message['id'] === 'number') return this.#settle(message['id'], message)
    if (message['event'] === 'exited') return this.#exited(message)
    if (message['event'] === 'log')
      this.#logger.info('launcher.log', { level: message['level'], message: message['message'] })
  }

  #settle(id: number, reply: Reply): void {
    const waiting = this.#waiting.get(id)
    if (waiting === undefined) return
    this.#waiting.delete(id)
    if (reply['ok'] === true) return waiting.resolve(reply)
    const { verb, instance } = waiting
    const step = typeof reply['step'] === 'string' ? ` at step "${reply['step']}"` : ''
    const of = instance === '' ? '' : ` instance "${instance}"`
    waiting.reject(
      new AppError('driver_failed', `Cannot ${verb}${of}: the launcher failed${step}: ${String(reply['error'])}`, {
        retryable: true,
      }),
    )
  }

  #exited(event: Reply): void {
    const instance = String(event['instance'])
    const receive = this.#exits.get(instance)
    this.#exits.delete(instance)
    const stderr = event['stderr']
    receive?.(exitOf(event), typeof stderr === 'string' ? stderr : '')
  }

  #close(why: string, exit: Exit): void {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#logger.info('launcher.closed', { why })
    for (const { verb, instance, reject } of this.#waiting.values()) reject(launcherGone(verb, instance))
    this.#waiting.clear()
    const exits = [...this.#exits.values()]
    this.#exits.clear()
    for (const receive of exits) receive(exit, '')
  }
}

/** How a sandbox ended, from an event or the reply to `kill`. */
export function exitOf(reply: Reply): Exit {
  const { code, signal, oom } = reply
  return {
    code: typeof code === 'number' ? code : null,
    signal: typeof signal === 'string' ? signal : typeof signal === 'number' ? `SIG${signal}` : null,
    oom: oom === true,
  }
}

function launcherGone(verb: string, instance: string): AppError {
  const of = instance === '' ? '' : ` instance "${instance}"`
  return new AppError('driver_failed', `Cannot ${verb}${of}: the launcher is gone.`)
}
