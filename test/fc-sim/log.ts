import { appendFileSync, closeSync, openSync } from 'node:fs'

const levels = ['off', 'error', 'warn', 'info', 'debug', 'trace']

/** Firecracker's log and metrics: lines appended to files that are named over the API. */
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
    this.#file = openSync(path, 'a+')
  }

  /** Throws what `open` does. */
  openMetrics(path: string): void {
    this.#metrics = openSync(path, 'a+')
  }

  get hasMetrics(): boolean {
    return this.#metrics !== null
  }

  write(level: 'error' | 'warn' | 'info', text: string): void {
    if (this.#file === null || levels.indexOf(level) > this.#level) return
    appendFileSync(this.#file, `${new Date().toISOString()} [${this.#id}:main:${level.toUpperCase()}] ${text}\n`)
  }

  flushMetrics(): void {
    if (this.#metrics === null) return
    appendFileSync(this.#metrics, `${JSON.stringify({ utc_timestamp_ms: Date.now() })}\n`)
  }
}
