import type { Clock } from '../../domain/clock.ts'
import { AppError, toAppError } from '../../domain/error.ts'
import type { Logger } from '../../domain/logger.ts'
import type { Store } from '../../domain/store.ts'
import { fromPlainError } from '../../domain/plain-error.ts'
import type { DatabaseOptions } from './database.ts'
import type { FromWorker, Reply, Request, ToWorker } from './messages.ts'
import type { OperationArgs, OperationName, OperationResult } from './operations/index.ts'
import { Worker } from 'node:worker_threads'

export interface SqliteStoreOptions {
  /** Path of the database; its folder and the file (0600) are made when absent. */
  readonly file: string
  /** Gives every record its time. */
  readonly clock: Clock
  readonly logger: Logger
  /** How long a call waits for another program (a backup) that holds the database's lock, before it fails with capacity. */
  readonly busyTimeoutMs?: number
}

const defaultBusyTimeoutMs = 5_000

/** Opens the store in one SQLite file (WAL, synchronous=FULL), run by a thread of its own: no call stops the caller's event loop.
 *  Mutations asked for at the same time are committed together; each promise resolves after the commit that holds its change.
 *  No project exists in a new store: whoever starts the platform creates the first.
 *  Throws invalid (not Hearth's file, written by a newer Hearth), internal (damaged file; the message says what to do). */
export async function openSqliteStore({
  file,
  clock,
  logger,
  busyTimeoutMs = defaultBusyTimeoutMs,
}: SqliteStoreOptions): Promise<Store> {
  const thread = new StoreThread({ file, busyTimeoutMs }, logger)
  await thread.opened
  const call = <Name extends OperationName>(name: Name) => {
    return (...args: OperationArgs<Name>): Promise<OperationResult<Name>> => thread.call(name, clock.nowMs(), args)
  }
  return {
    functions: {
      create: call('functions.create'),
      publish: call('functions.publish'),
      accept: call('functions.accept'),
      settle: call('functions.settle'),
      pending: call('functions.pending'),
      setLatest: call('functions.setLatest'),
      get: call('functions.get'),
      list: call('functions.list'),
      versions: call('functions.versions'),
      version: call('functions.version'),
      delete: call('functions.delete'),
      deleteVersion: call('functions.deleteVersion'),
    },
    layers: {
      publish: call('layers.publish'),
      get: call('layers.get'),
      list: call('layers.list'),
      versions: call('layers.versions'),
      delete: call('layers.delete'),
    },
    storage: {
      put: call('storage.put'),
      get: call('storage.get'),
      bucket: call('storage.bucket'),
      buckets: call('storage.buckets'),
      list: call('storage.list'),
      versions: call('storage.versions'),
      delete: call('storage.delete'),
      names: call('storage.names'),
      named: call('storage.named'),
    },
    aliases: {
      set: call('aliases.set'),
      get: call('aliases.get'),
      list: call('aliases.list'),
      delete: call('aliases.delete'),
    },
    urls: {
      set: call('urls.set'),
      get: call('urls.get'),
      find: call('urls.find'),
      list: call('urls.list'),
      delete: call('urls.delete'),
    },
    projects: {
      create: call('projects.create'),
      update: call('projects.update'),
      get: call('projects.get'),
      list: call('projects.list'),
      functionCount: call('projects.functionCount'),
    },
    keys: { create: call('keys.create'), get: call('keys.get'), list: call('keys.list'), revoke: call('keys.revoke') },
    secrets: {
      set: call('secrets.set'),
      sealed: call('secrets.sealed'),
      list: call('secrets.list'),
      users: call('secrets.users'),
      delete: call('secrets.delete'),
    },
    audit: { add: call('audit.add'), list: call('audit.list') },
    meta: { get: call('meta.get'), set: call('meta.set') },
    check: call('check'),
    close: () => thread.close(),
  }
}

interface Waiting {
  resolve(result: unknown): void
  reject(error: AppError): void
}

/** The caller's end of the store's thread. It keeps the process alive only while someone waits for an answer. */
class StoreThread {
  readonly opened: Promise<void>
  readonly #worker: Worker
  readonly #logger: Logger
  readonly #waiting = new Map<number, Waiting>()
  readonly #exited: Promise<void>
  #outgoing: Request[] = []
  #nextId = 1
  #isOpen = false
  #isClosing = false

  constructor(database: DatabaseOptions, logger: Logger) {
    this.#logger = logger
    this.#worker = new Worker(new URL('./worker.ts', import.meta.url), {
      workerData: database,
      name: 'store',
      // The process's own flags (--test, --input-type ...) are none of the thread's business.
      execArgv: [],
    })
    const { promise: opened, resolve, reject } = Promise.withResolvers<void>()
    this.opened = opened
    this.#worker.on('message', (message: FromWorker) => {
      if (message.kind === 'replies') return this.#settle(message.replies)
      if (message.kind === 'refused') return reject(fromPlainError(message.error))
      this.#isOpen = true
      this.#worker.unref()
      resolve()
    })
    this.#worker.on('error', (error: Error) => {
      logger.error('store.thread.failed', { error: error.message, stack: error.stack })
      reject(error)
    })
    this.#exited = new Promise((resolveExit) => {
      this.#worker.on('exit', () => {
        this.#isOpen = false
        reject(closedError())
        this.#rejectAll()
        resolveExit()
      })
    })
  }

  call<Name extends OperationName>(
    name: Name,
    nowMs: number,
    args: OperationArgs<Name>,
  ): Promise<OperationResult<Name>> {
    if (!this.#isOpen || this.#isClosing) return Promise.reject(closedError())
    const id = this.#nextId++
    if (this.#outgoing.length === 0) queueMicrotask(() => this.#flush())
    this.#outgoing.push({ id, name, nowMs, args })
    if (this.#waiting.size === 0) this.#worker.ref()
    return new Promise((resolve, reject) => this.#waiting.set(id, { resolve, reject }))
  }

  /** Lets everything already asked for finish first. */
  async close(): Promise<void> {
    if (!this.#isClosing && this.#isOpen) {
      this.#flush()
      this.#isClosing = true
      this.#worker.ref()
      this.#send({ kind: 'close' })
    }
    await this.#exited
  }

  #flush(): void {
    const requests = this.#outgoing
    if (requests.length === 0) return
    this.#outgoing = []
    try {
      this.#send({ kind: 'requests', requests })
    } catch {
      // One of them holds a value that cannot be cloned: find it, and let the others pass.
      for (const request of requests) this.#sendAlone(request)
    }
  }

  #sendAlone(request: Request): void {
    try {
      this.#send({ kind: 'requests', requests: [request] })
    } catch (error) {
      this.#waiting.get(request.id)?.reject(toAppError(error))
      this.#waiting.delete(request.id)
    }
  }

  #send(message: ToWorker): void {
    this.#worker.postMessage(message)
  }

  #settle(replies: readonly Reply[]): void {
    for (const reply of replies) {
      const waiting = this.#waiting.get(reply.id)
      this.#waiting.delete(reply.id)
      if ('error' in reply) waiting?.reject(fromPlainError(reply.error))
      else waiting?.resolve(reply.result)
    }
    if (this.#waiting.size === 0 && !this.#isClosing) this.#worker.unref()
  }

  #rejectAll(): void {
    if (this.#waiting.size > 0) this.#logger.error('store.calls.lost', { calls: this.#waiting.size })
    for (const waiting of this.#waiting.values()) waiting.reject(closedError())
    this.#waiting.clear()
  }
}

function closedError(): AppError {
  return new AppError('internal', 'The store is closed.', { retryable: false })
}
