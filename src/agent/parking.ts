import type { Sandbox } from '../domain/driver.ts'

/** Pauses under way or done, of sandboxes that wait in a pool. */
const parked = new WeakMap<Sandbox, Promise<void>>()

/** Stops the CPUs of a sandbox that waits in a pool. A failure is met by whoever takes it out. */
export function park(sandbox: Sandbox): void {
  const pausing = sandbox.pause()
  pausing.catch(() => {})
  parked.set(sandbox, pausing)
}

/** Lets a parked one run again; null when it never stopped. Throws driver_failed. */
export function unpark(sandbox: Sandbox): Promise<void> | null {
  const pausing = parked.get(sandbox)
  if (pausing === undefined) return null
  parked.delete(sandbox)
  return pausing.then(() => sandbox.resume())
}
