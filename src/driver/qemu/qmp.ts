import type { Duplex } from 'node:stream'
import { AppError } from '../../domain/error.ts'
import { readJsonLines } from '../json-lines.ts'

/** A reply or event of QEMU's; far above what the commands used here answer. */
const lineBytesMax = 256 * 1024

/** For one command. All that are used here are answered at once, and what takes longer tells its end by an event; a busy host may need seconds. */
const replyMsMax = 30_000

type Json = Readonly<Record<string, unknown>>

interface Waiting {
  readonly command: string
  readonly timer: NodeJS.Timeout
  readonly resolve: (value: unknown) => void
  readonly reject: (error: AppError) => void
}

/** QEMU's machine protocol over one connection: commands in order, events by name. The other side runs a guest that may have broken
 *  out: every line is bounded and parsed, and only `return`, `error` and `event` are read from it. Source: QEMU docs/interop/qmp-spec. */
export class Qmp {
  readonly #channel: Duplex
  readonly #waiting = new Map<number, Waiting>()
  readonly #listeners = new Map<string, (() => void)[]>()
  readonly #onSilent: () => void
  #nextId = 1
  #why: string | null = null

  private constructor(channel: Duplex, onSilent: () => void) {
    this.#channel = channel
    this.#onSilent = onSilent
    readJsonLines(channel, {
      lineBytesMax,
      onMessage: (message) => this.#receive(message),
      // What is no object answers nothing.
      onInvalid: () => {},
      onClosed: (why) => this.#close(why ?? 'it closed the connection'),
    })
  }

  /** Ready for commands. Throws driver_failed when QEMU refuses or goes. `onSilent`: it left a command without a reply for 30 s; the connection is
   *  closed then, and its machine cannot be managed any more. */
  static async open(channel: Duplex, onSilent: () => void): Promise<Qmp> {
    const qmp = new Qmp(channel, onSilent)
    await qmp.run('qmp_capabilities')
    return qmp
  }

  get isClosed(): boolean {
    return this.#why !== null
  }

  /** The command's `return`. Throws driver_failed with QEMU's own sentence. */
  run(command: string, args?: Json): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (this.#why !== null) return reject(gone(command, this.#why))
      const id = this.#nextId++
      const timer = setTimeout(() => this.#silent(command), replyMsMax)
      this.#waiting.set(id, { command, timer, resolve, reject })
      this.#channel.write(`${JSON.stringify({ execute: command, ...(args && { arguments: args }), id })}\n`)
    })
  }

  /** Resolves at the next event of that name; rejects when QEMU goes first. Ask before the command that causes it. */
  event(name: string): Promise<void> {
    const coming = new Promise<void>((resolve, reject) => {
      if (this.#why !== null) return reject(gone(`wait for ${name}`, this.#why))
      const done = (): void => (this.#why === null ? resolve() : reject(gone(`wait for ${name}`, this.#why)))
      this.#listeners.set(name, [...(this.#listeners.get(name) ?? []), done])
    })
    // When the command that should cause it fails, nobody waits for it any more.
    coming.catch(() => {})
    return coming
  }

  close(): void {
    this.#channel.destroy()
    this.#close('closed here')
  }

  #receive(message: Json): void {
    if (typeof message['event'] === 'string') return this.#emit(message['event'])
    if (typeof message['id'] !== 'number') return
    const waiting = this.#waiting.get(message['id'])
    if (waiting === undefined) return
    this.#waiting.delete(message['id'])
    clearTimeout(waiting.timer)
    const { error } = message
    if (error === undefined) return waiting.resolve(message['return'])
    const sentence =
      typeof error === 'object' && error !== null && 'desc' in error ? String(error.desc) : 'no reason given'
    waiting.reject(new AppError('driver_failed', `QEMU refused ${waiting.command}: ${sentence.slice(0, 400)}`))
  }

  #silent(command: string): void {
    this.#channel.destroy()
    this.#close(`it did not answer ${command} within ${replyMsMax} ms`)
    this.#onSilent()
  }

  #emit(name: string): void {
    const listeners = this.#listeners.get(name) ?? []
    this.#listeners.delete(name)
    for (const done of listeners) done()
  }

  #close(why: string): void {
    if (this.#why !== null) return
    this.#why = why
    for (const { command, timer, reject } of this.#waiting.values()) {
      clearTimeout(timer)
      reject(gone(command, why))
    }
    this.#waiting.clear()
    for (const name of [...this.#listeners.keys()]) this.#emit(name)
  }
}

function gone(command: string, why: string): AppError {
  return new AppError('driver_failed', `QEMU did not do ${command}: ${why}.`, { retryable: true })
}
