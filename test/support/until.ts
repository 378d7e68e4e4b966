import { setTimeout as delay } from 'node:timers/promises'

/** Resolves when `check` says true; rejects after `timeoutMs` with the last text that it said instead. For what another process does, of which no event tells.
 *  How long that takes says nothing: the machine may be ten times slower than the one of yesterday. */
export async function until(
  check: () => Promise<true | string> | true | string,
  { timeoutMs = 60_000, what }: { timeoutMs?: number; what: string },
): Promise<void> {
  const endMs = performance.now() + timeoutMs
  for (;;) {
    const said = await check()
    if (said === true) return
    if (performance.now() > endMs) throw new Error(`Waited ${timeoutMs} ms for ${what}: ${said}`)
    await delay(50)
  }
}
