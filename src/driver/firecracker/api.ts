import http from 'node:http'
import { AppError } from '../../domain/error.ts'
import type { FirecrackerRequests, FirecrackerRoute } from './api-types.ts'

/** A refusal is one sentence; more is not read from a VMM whose guest may have broken out. */
const replyBytesMax = 64 * 1024
/** Taking or loading a snapshot of 2 GiB waits for the disk. */
const replyMsMax = 30_000
/** A figure that a scrape waits for is there at once or not worth the wait: Firecracker has it ready, and asks no guest for it. */
const figureMsMax = 1_000
/** A socket is there when it is bound, and refuses until its VMM listens, a moment later. */
const listenMsMax = 1_000
const retryMs = 2

/** Firecracker's HTTP API over its UNIX socket, one request after the other. */
export class FirecrackerApi {
  readonly #socketPath: string
  readonly #agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
  #hasAnswered = false

  constructor(socketPath: string) {
    this.#socketPath = socketPath
  }

  /** Sends `body`; resolves when it was accepted. Throws driver_failed with Firecracker's own sentence. */
  async send<R extends FirecrackerRoute>(route: R, body: FirecrackerRequests[R]): Promise<void> {
    const [method = '', path = ''] = route.split(' ')
    const { status, text } = await this.#listened(() => this.#request(method, path, { body: JSON.stringify(body) }))
    if (status === 204 || status === 200) return
    throw new AppError('driver_failed', `Firecracker refused ${route}: ${faultOf(text) ?? `status ${status}`}`)
  }

  /** What the guest's balloon driver told last of its memory; null before it told anything. Throws driver_failed, after a second at most. */
  async guestAvailableBytes(): Promise<number | null> {
    const { status, text } = await this.#request('GET', '/balloon/statistics', { withinMs: figureMsMax })
    if (status !== 200)
      throw new AppError('driver_failed', `Firecracker refused GET /balloon/statistics: ${faultOf(text) ?? status}`)
    const value = fieldOf(text, 'available_memory')
    return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? value : null
  }

  close(): void {
    this.#agent.destroy()
  }

  async #listened(request: () => Promise<Reply>): Promise<Reply> {
    const deadlineMs = performance.now() + listenMsMax
    for (;;) {
      try {
        const reply = await request()
        this.#hasAnswered = true
        return reply
      } catch (error) {
        if (this.#hasAnswered || !isRefusal(error) || performance.now() > deadlineMs) throw error
      }
      await new Promise((resolve) => void setTimeout(resolve, retryMs))
    }
  }

  /** `withinMs` counts from now, also while it waits for one before it; else only a silent VMM is given up. */
  #request(method: string, path: string, { body = '', withinMs = Infinity }): Promise<Reply> {
    return new Promise((resolve, reject) => {
      const fail = (cause: Error): void => {
        clearTimeout(timer)
        const message = `Firecracker did not do ${method} ${path}: ${cause.message}.`
        reject(new AppError('driver_failed', message, { cause, retryable: true }))
      }
      const request = http.request(
        {
          ...{ socketPath: this.#socketPath, method, path, agent: this.#agent, timeout: replyMsMax },
          headers: { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) },
        },
        (response) => {
          let text = ''
          response.setEncoding('utf8')
          response.on('data', (chunk: string) => {
            text += chunk
            if (text.length > replyBytesMax) request.destroy(new Error('its reply is too long'))
          })
          response.on('end', () => {
            clearTimeout(timer)
            resolve({ status: response.statusCode ?? 0, text })
          })
          response.on('error', fail)
        },
      )
      request.on('timeout', () => request.destroy(new Error(`no reply within ${replyMsMax} ms`)))
      request.on('error', fail)
      const expire = (): void => {
        // One that has no socket yet would not tell of its end.
        fail(new Error(`no reply within ${withinMs} ms`))
        request.destroy()
      }
      const timer = withinMs === Infinity ? undefined : setTimeout(expire, withinMs)
      request.end(body)
    })
  }
}

interface Reply {
  readonly status: number
  readonly text: string
}

function isRefusal(error: unknown): boolean {
  const cause = error instanceof Error ? error.cause : null
  return cause instanceof Error && 'code' in cause && cause.code === 'ECONNREFUSED'
}

function faultOf(text: string): string | null {
  const fault = fieldOf(text, 'fault_message')
  return typeof fault === 'string' ? fault.slice(0, 400) : null
}

/** Of a JSON object; undefined for anything else. */
function fieldOf(text: string, name: string): unknown {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? Reflect.get(value, name) : undefined
  } catch {
    return undefined // Not JSON: the status alone is told.
  }
}
