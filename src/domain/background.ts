import { readlinkSync } from 'node:fs'
import os from 'node:os'

/** Nice value of a thread that works in the background: its share is a tenth of the event loop's where both want the same core. */
const backgroundNice = 10

/** Puts the calling thread behind the event loop. On two cores a thread of equal rank makes the loop wait for its turn, 10 ms and more at a time.
 *  Linux alone gives threads a rank of their own; elsewhere this does nothing. Never forward: a platform that was started with a lower rank
 *  still may not go back to a higher one. */
export function stepBack(): void {
  if (process.platform !== 'linux') return
  const threadId = Number(readlinkSync('/proc/thread-self').split('/').at(-1))
  os.setPriority(threadId, Math.max(os.getPriority(), backgroundNice))
}
