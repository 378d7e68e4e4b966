import { once } from 'node:events'
import type { ServerResponse } from 'node:http'
import type { LogLine } from '../domain/agent.ts'
import type { FollowedLog } from '../domain/control.ts'
import { errorBody } from './errors.ts'
import { watchStream, type StreamWatch, type WatchKey } from './stream-watch.ts'

/** A reader that takes nothing for this long is cut: its lines are on disk, it can come back with Last-Event-ID. */
const stallMs = 30_000

interface LogStream {
  readonly response: ServerResponse
  readonly tail: readonly LogLine[]
  /** Where `tail` ends: a reader that has seen no line yet comes back with this. */
  readonly fromOffset: number
  readonly follow: (signal: AbortSignal) => Promise<FollowedLog>
  readonly watchKey: WatchKey
  /** Told when the log itself fails: the status has long been sent. */
  readonly onError: (error: unknown) => void
}

/** Starts to send log lines as server-sent events whose id is the byte offset, until the client goes, its key is revoked or the function
 *  is deleted, which an `error` event says; resolves once the head is sent. Memory: one line and the socket's buffer. Throws what `follow` throws. */
export async function streamLogs({ response, tail, fromOffset, follow, watchKey, onError }: LogStream): Promise<void> {
  const watch = await watchStream(response, watchKey)
  try {
    // Asked before the headers leave, so that an error still has a status.
    const { log, lines } = await follow(watch.signal)
    response.writeHead(200, {
      'content-type': 'text/event-stream',
      'cache-control': 'no-store',
      'x-accel-buffering': 'no',
      'hearth-log-id': log,
    })
    response.write(`id: ${fromOffset}\n\n`)
    void pump({ response, tail, lines, watch, onError })
  } catch (error) {
    watch.end()
    throw error
  }
}

interface Pump {
  readonly response: ServerResponse
  readonly tail: readonly LogLine[]
  readonly lines: AsyncIterable<LogLine>
  /** Ended with the stream. */
  readonly watch: StreamWatch
  readonly onError: (error: unknown) => void
}

async function pump({ response, tail, lines, watch, onError }: Pump): Promise<void> {
  const { signal } = watch
  try {
    for (const line of tail) await send(response, line, signal)
    for await (const line of lines) {
      if (signal.aborted) break
      await send(response, line, signal)
    }
    signal.throwIfAborted()
  } catch (thrown) {
    if (!watch.isGone()) {
      const error = watch.reasonOf(thrown)
      if (error.code === 'internal') onError(thrown)
      response.write(`event: error\ndata: ${JSON.stringify(errorBody(error))}\n\n`)
    }
  } finally {
    watch.end()
    response.end()
    setTimeout(() => response.destroy(), stallMs).unref()
  }
}

async function send(response: ServerResponse, line: LogLine, signal: AbortSignal): Promise<void> {
  if (response.write(`id: ${line.offset}\ndata: ${JSON.stringify(line)}\n\n`)) return
  const stalled = setTimeout(() => response.destroy(), stallMs)
  try {
    await once(response, 'drain', { signal })
  } finally {
    clearTimeout(stalled)
  }
}
