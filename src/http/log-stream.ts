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
}

/** Log lines as server-sent events whose id is the byte offset, until the client goes. Memory: one line and the socket's buffer. */
export async function streamLogs({ response, tail, follow, fromOffset }: LogStream): Promise<void> {
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
  const heartbeat = setInterval(() => {
    if (response.writableLength === 0) response.write(': still here\n\n')
  }, heartbeatMs)
  heartbeat.unref()
  try {
    for (const line of tail) await send(response, line, gone.signal)
    for await (const line of lines) await send(response, line, gone.signal)
  } catch (error) {
    if (!gone.signal.aborted) throw error
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
