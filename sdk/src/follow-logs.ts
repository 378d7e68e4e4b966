import { routes } from './contract.ts'
import { failure, HearthError, statusOf } from './hearth-error.ts'
import { requestPath } from './request-path.ts'
import { readEvents } from './sse.ts'
import type { ErrorBody, LogLine } from './types.ts'

/** Before a lost connection is made again; the last one for every further try. */
const waitsMs = [250, 500, 1_000, 2_000, 4_000]

export interface FollowOptions {
  readonly signal: AbortSignal
  /** Where the lines begin; default: now. */
  readonly fromOffset?: number
  /** Told once when the connection is lost and once when it is back. */
  readonly onConnection?: (state: 'lost' | 'back') => void
}

/** What sends a request; rejects with a HearthError of status 0 where nothing answers. */
interface Sender {
  send(path: string, init: { headers: Readonly<Record<string, string>>; signal: AbortSignal }): Promise<Response>
}

/** The lines of a function's log over as many connections as it takes. */
export async function* followLogs(
  sender: Sender,
  name: string,
  { signal, fromOffset, onConnection }: FollowOptions,
): AsyncGenerator<LogLine> {
  const path = `${requestPath(routes.getLogs.path, { name }).path}?follow=true`
  let offset = fromOffset
  let log: string | null = null
  let isConnected = false
  let failures = 0
  while (!signal.aborted) {
    try {
      const headers = {
        accept: 'text/event-stream',
        ...(offset !== undefined && { 'last-event-id': String(offset) }),
        ...(log !== null && { 'hearth-log-id': log }),
      }
      const reply = await sender.send(path, { headers, signal })
      if (!reply.ok) throw await failure(reply)
      isConnected = true
      log = reply.headers.get('hearth-log-id')
      if (failures > 0) onConnection?.('back')
      failures = 0
      for await (const { id, type, data } of readEvents(reply)) {
        if (type === 'error') throw toldError(data)
        if (id !== null) offset = Number(id)
        if (data !== '') yield JSON.parse(data) as LogLine
        if (signal.aborted) return
      }
    } catch (error) {
      if (signal.aborted) return
      if (error instanceof HearthError && !(isConnected && isPassing(error))) throw error
      // The connection was cut: go on from the last line seen.
    }
    if (failures === 0) onConnection?.('lost')
    await wait(waitsMs[Math.min(failures++, waitsMs.length - 1)] ?? 0, signal)
  }
}

/** Why the platform ended the stream. */
function toldError(data: string): HearthError {
  const { error } = JSON.parse(data) as { error: ErrorBody }
  return new HearthError(statusOf(error.code), error)
}

/** A platform that is away, starts or ends, or a proxy before it that says so. */
function isPassing({ status, retryable }: HearthError): boolean {
  return status === 0 || (retryable && status >= 500)
}

async function wait(ms: number, signal: AbortSignal): Promise<void> {
  await new Promise<void>((resolve) => {
    const done = (): void => {
      clearTimeout(timer)
      signal.removeEventListener('abort', done)
      resolve()
    }
    const timer = setTimeout(done, ms)
    signal.addEventListener('abort', done)
    if (signal.aborted) done()
  })
}
