import { afterEach } from 'node:test'
import type { FakeMeta } from '../../src/driver/fake/fake-runtime.ts'
import { AgentRig } from '../support/agent-rig.ts'

/* What the parts of the agent's contract share. */

export type OpenRig = typeof AgentRig.fake

export const oom = { code: null, signal: 'SIGKILL', oom: true }

/** An opener whose rigs are closed after each test of the suite that called this. */
export function rigsOf(openRig: OpenRig): OpenRig {
  const rigs: AgentRig[] = []
  afterEach(async () => {
    for (const rig of rigs.splice(0)) await rig.close()
  })
  return (...args) => {
    const rig = openRig(...args)
    rigs.push(rig)
    return rig
  }
}

/** A handler that takes `event.ms` and answers with its Instance. */
export async function sleeper(event: unknown, meta: FakeMeta): Promise<unknown> {
  const { ms = 0 } = event as { ms?: number }
  if (ms > 0) await meta.sleep(ms)
  return { instance: meta.instanceId }
}

/** Id of the rig's invocation number `count`, from 1. */
export function idOf(count: number): string {
  return `00000000-0000-7000-8000-${String(count).padStart(12, '0')}`
}
