import { readlinkSync } from 'node:fs'
import os from 'node:os'

/** By how much more a background thread yields than the event loop: its share is a quarter where both want the same core. Not by more: a deploy waits
 *  for it, and where the launcher may put the event loop before functions it still has the rank of these. At 10 behind them, four busy processes
 *  on two cores made a root image of 2 s take minutes. */
const behindLoop = 5

const niceMax = 19

/** Puts the calling thread behind the event loop. On two cores a thread of equal rank makes the loop wait for its turn, 10 ms and more at a time.
 *  Linux alone gives threads a rank of their own; elsewhere this does nothing. */
export function stepBack(): void {
  if (process.platform !== 'linux') return
  const threadId = Number(readlinkSync('/proc/thread-self').split('/').at(-1))
  os.setPriority(threadId, Math.min(os.getPriority(process.pid) + behindLoop, niceMax))
}
