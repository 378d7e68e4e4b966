import type { ServerResponse } from 'node:http'
import { toAppError, type AppError } from '../domain/error.ts'
import { revoked } from './auth.ts'

/** A comment this often keeps proxies from closing a silent stream. */
const heartbeatMs = 15_000

/** Calls `ended` when the reader's key is revoked; resolves with what ends the watch. */
export type WatchKey = (ended: () => void) => Promise<() => void>

export interface StreamWatch {
  /** Aborted once the stream has nobody to be for: its reader went, or the reader's key was revoked. */
  readonly signal: AbortSignal
  /** Whether nobody is left who could be told why the stream ends. */
  readonly isGone: () => boolean
  /** Why the stream ends: `thrown`, or the revocation that `thrown` comes from. */
  readonly reasonOf: (thrown: unknown) => AppError
  /** Ends the watch and the heartbeat. */
  readonly end: () => void
}

/** Watches over an answer of server-sent events, from before its head is sent until `end`. Throws what `watchKey` throws. */
export async function watchStream(response: ServerResponse, watchKey: WatchKey): Promise<StreamWatch> {
  const gone = new AbortController()
  const revocation = new AbortController()
  const leave = (): void => gone.abort()
  response.once('close', leave)
  // It may have gone while the call was looked at: that is told once, and has been.
  if (response.destroyed) leave()
  const forgetKey = await watchKey(() => revocation.abort())
  const heartbeat = setInterval(() => {
    if (response.headersSent && response.writableLength === 0) response.write(': still here\n\n')
  }, heartbeatMs)
  heartbeat.unref()
  return {
    signal: AbortSignal.any([gone.signal, revocation.signal]),
    isGone: () => gone.signal.aborted,
    reasonOf: (thrown) => (revocation.signal.aborted ? revoked() : toAppError(thrown)),
    end() {
      clearInterval(heartbeat)
      forgetKey()
      response.off('close', leave)
    },
  }
}
