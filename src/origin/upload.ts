import type { Digest } from '../domain/artifact.ts'
import { AppError } from '../domain/error.ts'
import { createHash } from 'node:crypto'
import { finished, Transform, type Readable } from 'node:stream'

/** The bytes of `source` on their way to another server: hashed as they pass, 64 KiB at a time. Until `release`, which leaves what has not passed in
 *  `source`, unread and open. */
export class Upload {
  readonly #body: Transform
  readonly #source: Readable
  readonly #hash = createHash('sha256')
  readonly #broken = new AbortController()
  readonly #unwatch: () => void
  #digest: Digest | null = null
  #error: unknown = null

  constructor(source: Readable) {
    this.#source = source
    this.#body = new Transform({
      transform: (chunk: Uint8Array, _encoding, done) => {
        this.#hash.update(chunk)
        done(null, chunk)
      },
      flush: (done) => {
        this.#digest = `sha256:${this.#hash.digest('hex')}`
        done()
      },
    })
    // A pipe passes on bytes and their end, not that they break off: without this, who takes them would wait for more.
    this.#unwatch = finished(source, { writable: false }, (error) => {
      if (error === null || error === undefined) return
      this.#error = error
      this.#broken.abort()
    })
    source.pipe(this.#body)
  }

  get body(): Readable {
    return this.#body
  }

  /** Aborted when the source breaks off: what has come so far is not the whole. */
  get broken(): AbortSignal {
    return this.#broken.signal
  }

  /** Null until all of it has passed. */
  get digest(): Digest | null {
    return this.#digest
  }

  /** Why the source broke off, as the end of a sentence about `failing`; null when it did not. */
  problem(failing: string): AppError | null {
    if (this.#error === null) return null
    if (this.#error instanceof AppError) return this.#error
    const fix = 'Send it again.'
    const message = `${failing}: the upload broke off before its end. ${fix}`
    return new AppError('invalid', message, { field: 'body', allowed: fix, cause: this.#error })
  }

  release(): void {
    this.#unwatch()
    this.#source.unpipe(this.#body)
    this.#body.destroy()
    // Whoever still takes from `body` is through.
    this.#broken.abort()
  }
}
