import { AppError } from '../domain/error.ts'
import type { ReportProgress } from '../domain/image.ts'
import { fromPlainError } from '../domain/plain-error.ts'
import type { ImageJobs, ImageReply, ImageRequest } from './image-worker.ts'
import { Worker } from 'node:worker_threads'

interface Pending {
  readonly report: ReportProgress | undefined
  resolve(result: unknown): void
  reject(error: Error): void
}

/** An image's tree and the small files of it take tens of MiB; a new thread is up in 50 ms. */
const idleMsMax = 10_000

/** A thread for image jobs, one after the other: started with the first, gone some time after the last, and meanwhile no reason for the process to live. */
export class ImageThread {
  readonly #pending = new Map<number, Pending>()
  #worker: Worker | null = null
  #idle: NodeJS.Timeout | undefined
  #lastId = 0
  #isClosed = false

  run<Name extends keyof ImageJobs>(
    name: Name,
    input: Parameters<ImageJobs[Name]>[0],
    report?: ReportProgress,
  ): Promise<ReturnType<ImageJobs[Name]>> {
    if (this.#isClosed) return Promise.reject(closedError())
    const id = ++this.#lastId
    return new Promise((resolve, reject) => {
      this.#pending.set(id, { report, resolve: (result) => resolve(result as ReturnType<ImageJobs[Name]>), reject })
      clearTimeout(this.#idle)
      const worker = (this.#worker ??= this.#start())
      worker.ref()
      worker.postMessage({ id, name, input } satisfies ImageRequest)
    })
  }

  /** Ends the thread; what is under way is rejected and leaves at most a draft. */
  async close(): Promise<void> {
    this.#isClosed = true
    clearTimeout(this.#idle)
    this.#fail(closedError())
    await this.#worker?.terminate()
  }

  #start(): Worker {
    const worker = new Worker(new URL('./image-worker.ts', import.meta.url), { name: 'image', execArgv: [] })
    worker.on('message', (reply: ImageReply) => this.#receive(reply))
    worker.on('error', (error: Error) => this.#fail(error))
    worker.on('exit', (code) => {
      if (this.#worker !== worker) return
      this.#worker = null
      this.#fail(new Error(`The image thread exited with code ${code}.`))
    })
    return worker
  }

  #receive(reply: ImageReply): void {
    const job = this.#pending.get(reply.id)
    if ('progress' in reply) return job?.report?.(reply.progress.what, reply.progress.share ?? undefined)
    this.#pending.delete(reply.id)
    if (this.#pending.size === 0) this.#rest()
    if ('error' in reply) job?.reject(fromPlainError(reply.error))
    else job?.resolve(reply.result)
  }

  #rest(): void {
    this.#worker?.unref()
    this.#idle = setTimeout(() => {
      const worker = this.#worker
      this.#worker = null
      void worker?.terminate()
    }, idleMsMax).unref()
  }

  #fail(error: Error): void {
    const jobs = [...this.#pending.values()]
    this.#pending.clear()
    for (const job of jobs) job.reject(error)
  }
}

function closedError(): AppError {
  return new AppError('internal', 'The image store is closed.', { retryable: false })
}
