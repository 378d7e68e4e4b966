import type { FunctionConfig } from '../domain/function.ts'
import type { Instance } from './instance.ts'

export interface RestContext {
  readonly config: FunctionConfig
  readonly nowMs: number
  /** `prepare` wants it kept until then; 0 when not. */
  readonly keepUntilMs: number
}

/** What an idle Instance is due for now, and when to look again (monotonic ms). */
export function restAction(
  instance: Instance,
  { config, nowMs, keepUntilMs }: RestContext,
): { action: 'reap' | 'freeze' | 'none'; nextMs: number } {
  // waitUntil work may go on as long as an invocation may; what is older was forgotten by the function.
  const workUntilMs = instance.openWork === 0 ? 0 : instance.openWorkSinceMs + config.timeoutMs
  if (nowMs < workUntilMs) return { action: 'none', nextMs: workUntilMs }
  const reapMs = Math.max(keepUntilMs, instance.idleSinceMs + config.keepAliveMs)
  if (nowMs >= reapMs) return { action: 'reap', nextMs: Infinity }
  if (instance.state !== 'ready' || !instance.from.mayPause) return { action: 'none', nextMs: reapMs }
  const freezeMs = instance.idleSinceMs + config.freezeAfterMs
  return nowMs >= freezeMs
    ? { action: 'freeze', nextMs: reapMs }
    : { action: 'none', nextMs: Math.min(freezeMs, reapMs) }
}

/** Least that a frozen Instance counts towards the node's memory. */
const frozenMibMin = 16

/** What a machine takes beside what its guest's cgroup counts: the VMM, the guest's kernel and init. Measured on QEMU 7.2 with emulation, private memory of clones that
 *  answered once and were paused: Python 59 MiB, of which its cgroup counted 14, Node 87 and 60. */
export const machineMib = 48

/** What it counts while frozen: what it holds, once that was measured; a clone no less than the host counts of its machine, whatever its guest says. A
 *  machine that booted cold has written all over its memory (156 MiB of Python's, 250 of Node's were private, where the cgroups counted 12 and 59)
 *  and gives nothing of it back: it counts as before. */
export function frozenMib(instance: Instance): number {
  const { usage, chargedMib, from } = instance
  const { memoryMib, hostMib } = usage
  if (memoryMib === 0) return chargedMib
  const ownMib = Math.max(frozenMibMin, memoryMib)
  if (!from.outlivesAgent) return ownMib
  return from.isRestored ? Math.max(ownMib + machineMib, hostMib) : chargedMib
}
