import { directContract } from '../../src/domain/default-config.ts'
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { Duplex } from 'node:stream'
import type { FunctionError } from '../../src/domain/invocation.ts'
import { HostLink, type InvokeStream } from '../../src/wire/link.ts'
import type { BindMessage, Hello, InvokeMessage } from '../../src/wire/messages.ts'

/** What came of one invocation, in the order in which the frames came. */
export interface Answer {
  readonly head: { status: number; headers: [string, string][] } | null
  readonly body: Buffer
  readonly error: FunctionError | null
  readonly openWork: boolean
  /** Resolves at IDLE. */
  readonly idle: Promise<void>
}

export interface CallOptions {
  readonly contentType?: string
  readonly deadlineMs?: number
  readonly kind?: InvokeMessage['kind']
  /** Called with each piece of the body; the returned promise holds back credit. */
  readonly onData?: (chunk: Buffer) => Promise<void>
  readonly started?: (stream: InvokeStream) => void
}

export interface LogPiece {
  readonly stream: number
  readonly fd: 1 | 2
  readonly text: string
}

const folders: string[] = []
process.on('exit', () => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true })
})

/** A folder with the given files; removed when the process ends. */
export function codeFolder(files: Readonly<Record<string, string | Buffer>>): string {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'hearth-code-'))
  folders.push(folder)
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(path.dirname(path.join(folder, name)), { recursive: true })
    writeFileSync(path.join(folder, name), content)
  }
  return folder
}

/** A real runtime without a sandbox, driven as the agent does it. */
export class Subject {
  readonly logs: LogPiece[] = []
  readonly child: ChildProcess
  readonly link: HostLink
  readonly hello: Promise<Hello>
  readonly ready: Promise<{ loadMs: number }>
  readonly closed: Promise<Error | null>
  readonly exited: Promise<number | null>

  constructor(command: readonly string[], env: Readonly<Record<string, string>> = {}) {
    const [program = '', ...args] = command
    this.child = spawn(program, args, {
      stdio: ['ignore', 'inherit', 'inherit', 'pipe'],
      env: { HEARTH_EPOCH: 'e1', PATH: '/usr/bin:/bin', HOME: '/tmp', TZ: 'UTC', LANG: 'C.UTF-8', ...env },
    })
    this.exited = once(this.child, 'exit').then(([code]: (number | null)[]) => code ?? null)
    const channel = this.child.stdio[3]
    if (!(channel instanceof Duplex)) throw new Error('fd 3 is not a socket')
    const hello = Promise.withResolvers<Hello>()
    const ready = Promise.withResolvers<{ loadMs: number }>()
    const closed = Promise.withResolvers<Error | null>()
    hello.promise.catch(() => {})
    ready.promise.catch(() => {})
    this.hello = hello.promise
    this.ready = ready.promise
    this.closed = closed.promise
    this.link = new HostLink(channel, {
      epoch: 'e1',
      role: 'runtime',
      handlers: {
        onHello: (message) => {
          this.link.configure({ instance: 'i-1', nowMs: Date.now(), logBytesPerSecond: 1_000_000 })
          hello.resolve(message)
        },
        onReady: ready.resolve,
        onInitFail: (error) => ready.reject(new InitFailed(error)),
        onLog: (stream, fd, text) => this.logs.push({ stream, fd, text: text.toString() }),
        onOpen: () => false,
        onClosed: (error) => {
          hello.reject(error ?? new Error('closed before HELLO'))
          ready.reject(error ?? new Error('closed before READY'))
          closed.resolve(error)
        },
      },
    })
  }

  async bind(code: string, handler: string, rest: Partial<BindMessage> = {}): Promise<{ loadMs: number }> {
    await this.hello
    this.link.bind({
      function: 'subject',
      version: '3',
      project: 'default',
      handler,
      memoryMib: 256,
      timeoutMs: 30_000,
      env: {},
      taskRoot: code,
      cacheRoot: null,
      apiUrl: 'http://127.0.0.1:9010',
      region: 'local',
      accountId: '000000000000',
      logGroup: '/hearth/default/subject',
      logStream: 'i-1',
      purpose: 'serve',
      ...directContract,
      ...rest,
    })
    return this.ready
  }

  /** One invocation; rejects when the channel closes before its end. */
  call(event: unknown = {}, options: CallOptions = {}): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const chunks: Buffer[] = []
      let head: Answer['head'] = null
      const idle = Promise.withResolvers<void>()
      const finish = (error: FunctionError | null, openWork: boolean): void =>
        resolve({ head, body: Buffer.concat(chunks), error, openWork, idle: idle.promise })
      const stream = this.link.invoke(
        {
          id: '0190-id',
          deadlineMs: options.deadlineMs ?? Date.now() + 30_000,
          contentType: options.contentType ?? 'application/json',
          traceparent: null,
          kind: options.kind ?? 'invoke',
        },
        {
          onHead: (value) => (head = value),
          onData: (chunk) => {
            chunks.push(chunk)
            if (options.onData === undefined) stream.credit(chunk.length)
            else void options.onData(chunk).then(() => stream.credit(chunk.length))
          },
          onEnd: (openWork) => finish(null, openWork),
          onFail: finish,
          onIdle: idle.resolve,
        },
      )
      stream.write(Buffer.isBuffer(event) ? event : Buffer.from(JSON.stringify(event)), true)
      options.started?.(stream)
      void this.closed.then((error) => reject(error ?? new Error('the channel closed')))
    })
  }

  /** The result as JSON; throws the function's error. */
  async json<T = unknown>(event: unknown = {}, options: CallOptions = {}): Promise<T> {
    const answer = await this.call(event, options)
    if (answer.error !== null) throw new Error(`${answer.error.errorType}: ${answer.error.errorMessage}`)
    const result: T = JSON.parse(answer.body.toString())
    return result
  }

  /** What was logged so far on `stream`, both descriptors together. */
  logged(stream?: number): string {
    return this.logs
      .filter((piece) => stream === undefined || piece.stream === stream)
      .map((piece) => piece.text)
      .join('')
  }

  stop(): void {
    this.link.close()
    this.child.kill('SIGKILL')
  }
}

/** The start failed; carries what FAIL on stream 0 said. */
export class InitFailed extends Error {
  readonly failure: FunctionError & { phase: string }

  constructor(failure: FunctionError & { phase: string }) {
    super(`${failure.errorType}: ${failure.errorMessage}`)
    this.failure = failure
  }
}
