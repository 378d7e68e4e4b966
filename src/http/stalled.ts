import type { ServerResponse } from 'node:http'
import { Socket } from 'node:net'

/** A client that takes nothing of what is ready for it for this long is cut. */
const stallMs = 60_000

/** Cuts the client of `response` when it has stopped taking, as far as `isWaiting` says that there is something to take. An Instance's own stream is no socket and has
 *  no timeout: its reader lives on this machine, and as long as its Instance. */
export function cutIfStalled(response: ServerResponse, isWaiting = (): boolean => true): void {
  if (response.socket instanceof Socket)
    response.setTimeout(stallMs, () => {
      if (isWaiting()) response.destroy()
    })
}
