import { readFileSync } from 'node:fs'

const looks = 6
const lookMs = 5

/** Waits until nothing else wants to run: the kernel's count of runnable tasks says one, this process, at `looks` looks in a row. Work that
 *  does not end is not waited for longer than `waitMsMax`; false then, so that a bench can say so. Linux only. */
export async function quietMoment(waitMsMax = 200): Promise<boolean> {
  const deadline = performance.now() + waitMsMax
  for (let inARow = 0; inARow < looks;) {
    if (performance.now() > deadline) return false
    await new Promise((resolve) => setTimeout(resolve, lookMs))
    inARow = runnableTasks() <= 1 ? inARow + 1 : 0
  }
  return true
}

/** Fourth field of /proc/loadavg: runnable/all. */
function runnableTasks(): number {
  return Number(readFileSync('/proc/loadavg', 'utf8').split(' ')[3]?.split('/')[0])
}
