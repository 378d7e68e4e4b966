import { closeSync, constants, openSync, writeSync } from 'node:fs'

const levels = ['off', 'error', 'warn', 'info', 'debug', 'trace']

/** Without blocking, so that what is written to a full pipe is dropped. Source: Firecracker docs/logger. */
const flags = constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT | constants.O_NONBLOCK

/** Firecracker's log and metrics: lines appended to files or named pipes that are named over the API. */
export class Log {
  readonly #id: string
  #file: number | null = null
  #level = levels.indexOf('info')
  #metrics: number | null = null

  constructor(id: string) {
    this.#id = id
  }

  /** Throws what `open` does. */
  configure({ path, level }: { path: string | undefined; level: string | undefined }): void {
    if (level !== undefined) this.#level = levels.indexOf(level.toLowerCase().replace('warning', 'warn'))
    if (path === undefined) return
    if (this.#file !== null) closeSync(this.#file)
    this.#file = openSync(path, flags)
  }

  /** Throws what `open` does. */
  openMetrics(path: string): void {
    this.#metrics = openSync(path, flags)
  }

  get hasMetrics(): boolean {
    return this.#metrics !== null
  }

  write(level: 'error' | 'warn' | 'info', text: string): void {
    if (this.#file === null || levels.indexOf(level) > this.#level) return
    append(this.#file, `${new Date().toISOString()} [${this.#id}:main:${level.toUpperCase()}] ${text}\n`)
  }

  flushMetrics(): void {
    if (this.#metrics === null) return
    append(this.#metrics, `${JSON.stringify({ utc_timestamp_ms: Date.now() })}\n`)
  }
}

function append(fd: number, line: string): void {
  try {
    writeSync(fd, line)
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'EAGAIN')) throw error
  }
}
