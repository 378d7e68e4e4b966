import { AppError } from '../domain/error.ts'
import { fromPlainError } from '../domain/plain-error.ts'
import type { JobInput, JobName, JobReply, JobRequest, JobResult } from './worker.ts'
import { Worker } from 'node:worker_threads'

interface Job {
  readonly request: JobRequest
  resolve(result: unknown): void
  reject(error: Error): void
}

/** A thread costs 15 to 40 MB and 30 ms to start: it outlives the jobs of one deploy, not the time until the next. */
const idleMsDefault = 2_000

/** Threads for the artifact store's heavy work: started when first needed, at most `threadsMax`, one job each at a time; ended when idle
 *  for a while. An idle thread does not keep the process alive; a busy one does. */
export class WorkerPool {
  readonly #threadsMax: number
  readonly #idleMs: number
  readonly #idle: Worker[] = []
  #reaper: NodeJS.Timeout | null = null
  readonly #queue: Job[] = []
  readonly #busy = new Map<Worker, Job>()
  #isClosed = false

  constructor(threadsMax: number, idleMs = idleMsDefault) {
    this.#threadsMax = threadsMax
    this.#idleMs = idleMs
  }

  /** Threads that are alive. */
  get threads(): number {
    return this.#idle.length + this.#busy.size
  }

  run<Name extends JobName>(name: Name, input: JobInput<Name>): Promise<JobResult<Name>> {
    if (this.#isClosed) return Promise.reject(closedError())
    return new Promise((resolve, reject) => {
      this.#queue.push({ request: { name, input }, resolve, reject })
      this.#dispatch()
    })
  }

  /** Ends every thread; what is under way is rejected. */
  async close(): Promise<void> {
    this.#isClosed = true
    if (this.#reaper !== null) clearTimeout(this.#reaper)
    const jobs = [...this.#queue.splice(0), ...this.#busy.values()]
    const workers = [...this.#idle.splice(0), ...this.#busy.keys()]
    this.#busy.clear()
    for (const job of jobs) job.reject(closedError())
    await Promise.all(workers.map((worker) => worker.terminate()))
  }

  #dispatch(): void {
    while (this.#queue.length > 0) {
      const worker = this.#idle.pop() ?? this.#start()
      if (worker === undefined) return
      const job = this.#queue.shift()
      if (job === undefined) return
      this.#busy.set(worker, job)
      worker.ref()
      worker.postMessage(job.request)
    }
  }

  /** Ends idle threads once none was needed for a while. */
  #reapLater(): void {
    if (this.#reaper !== null) clearTimeout(this.#reaper)
    this.#reaper = setTimeout(() => {
      for (const worker of this.#idle.splice(0)) void worker.terminate()
    }, this.#idleMs).unref()
  }

  #start(): Worker | undefined {
    if (this.#busy.size >= this.#threadsMax) return undefined
    const worker = new Worker(new URL('./worker.ts', import.meta.url), { name: 'artifact', execArgv: [] })
    worker.on('message', (reply: JobReply) => {
      const job = this.#release(worker)
      if (!this.#isClosed) this.#idle.push(worker)
      if ('error' in reply) job?.reject(fromPlainError(reply.error))
      else job?.resolve(reply.result)
      this.#dispatch()
      if (this.#idle.length > 0) this.#reapLater()
    })
    worker.on('error', (error: Error) => this.#release(worker)?.reject(error))
    worker.on('exit', (code) => {
      this.#release(worker)?.reject(new Error(`An artifact thread exited with code ${code}.`))
      const at = this.#idle.indexOf(worker)
      if (at !== -1) this.#idle.splice(at, 1)
      if (!this.#isClosed) this.#dispatch()
    })
    return worker
  }

  #release(worker: Worker): Job | undefined {
    const job = this.#busy.get(worker)
    this.#busy.delete(worker)
    worker.unref()
    return job
  }
}

function closedError(): AppError {
  return new AppError('internal', 'The artifact store is closed.', { retryable: false })
}
