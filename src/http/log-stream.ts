import { once } from 'node:events'
import type { ServerResponse } from 'node:http'
import type { LogLine } from '../domain/agent.ts'

/** A comment this often keeps proxies from closing a silent stream. */
const heartbeatMs = 15_000
/** A reader that takes nothing for this long is cut: its lines are on disk, it can come back with Last-Event-ID. */
const stallMs = 30_000

interface LogStream {
  readonly response: ServerResponse
  readonly tail: readonly LogLine[]
  readonly follow: (signal: AbortSignal, fromOffset: number | undefined) => Promise<AsyncIterable<LogLine>>
  readonly fromOffset: number | undefined
  /** Told when the log itself fails: the status has long been sent. */
  readonly onError: (error: unknown) => void
}

/** Starts to send log lines as server-sent events whose id is the byte offset, until the client goes; resolves once the head is sent.
 *  Memory: one line and the socket's buffer. Throws what `follow` throws. */
export async function streamLogs({ response, tail, follow, fromOffset, onError }: LogStream): Promise<void> {
  const gone = new AbortController()
  response.once('close', () => gone.abort())
  // Asked before the headers leave, so that an error still has a status.
  const lines = await follow(gone.signal, fromOffset ?? tail.at(-1)?.offset)
  response.writeHead(200, {
    'content-type': 'text/event-stream',
    'cache-control': 'no-store',
    'x-accel-buffering': 'no',
  })
  response.flushHeaders()
  void pump({ response, tail, lines, gone: gone.signal, onError })
}

interface Pump {
  readonly response: ServerResponse
  readonly tail: readonly LogLine[]
  readonly lines: AsyncIterable<LogLine>
  readonly gone: AbortSignal
  readonly onError: (error: unknown) => void
}

async function pump({ response, tail, lines, gone, onError }: Pump): Promise<void> {
  const heartbeat = setInterval(() => {
    if (response.writableLength === 0) response.write(': still here\n\n')
  }, heartbeatMs)
  heartbeat.unref()
  try {
    for (const line of tail) await send(response, line, gone)
    for await (const line of lines) await send(response, line, gone)
  } catch (error) {
    if (!gone.aborted) onError(error)
  } finally {
    clearInterval(heartbeat)
    response.end()
  }
}

async function send(response: ServerResponse, line: LogLine, gone: AbortSignal): Promise<void> {
  if (response.write(`id: ${line.offset}\ndata: ${JSON.stringify(line)}\n\n`)) return
  const stalled = setTimeout(() => response.destroy(), stallMs)
  try {
    await once(response, 'drain', { signal: gone })
  } finally {
    clearTimeout(stalled)
  }
}
