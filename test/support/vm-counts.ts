import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import type { TestContext } from 'node:test'
import { call, deployFiles, invoke } from './functions.ts'
import { pidsOf } from './leftovers.ts'
import type { Platform } from './platform.ts'

/** A guest's clock may be this far off (docs/guides/microvms.md). */
export const clockMsMax = 50

/** Everything in the answer must be this clone's own; `holdMs` keeps it alive. */
const code = `
const { randomBytes, randomUUID } = require('node:crypto')
const os = require('node:os')
exports.handler = async ({ holdMs = 0 }) => {
  const nowMs = Date.now()
  if (holdMs > 0) await new Promise((resolve) => setTimeout(resolve, holdMs))
  return { nowMs, own: [os.hostname(), randomUUID(), randomBytes(16).toString('hex'), String(Math.random())] }
}`

interface Answer {
  readonly nowMs: number
  readonly own: readonly string[]
}

/** One microVM for each call, of the kind that `snapshot` says. */
export async function deployClones(platform: Platform, name: string, snapshot: 'function' | 'runtime'): Promise<void> {
  const config = { isolation: 'vm', snapshot, reuse: 'never', memoryMib: 128, timeoutMs: 120_000, concurrency: 50 }
  await deployFiles(platform, { name, runtime: 'node', handler: 'index.handler', files: { 'index.js': code }, config })
}

export interface Counted {
  readonly count: number
  /** Calls at a time. */
  readonly clients: number
  readonly holdMs?: number
}

/** Calls the function of `deployClones` so often. Each answer is a VM's of its own: no name and no random value comes twice, the clock is right, the
 *  receipt says that it came from the snapshot. Tells how long calls took. */
export async function countClones(
  t: TestContext,
  of: { platform: Platform; name: string; snapshot: string },
  { count, clients, holdMs = 0 }: Counted,
): Promise<void> {
  const { platform, name, snapshot } = of
  const seen = new Set<string>()
  const taken: number[] = []
  let begun = 0
  const client = async (): Promise<void> => {
    while (begun < count) {
      begun++
      const fromMs = Date.now()
      const reply = await invoke(platform, name, { holdMs })
      const toMs = Date.now()
      assert.equal(reply.status, 200, reply.body.toString())
      const { nowMs, own } = reply.json<Answer>()
      assert.ok(nowMs > fromMs - clockMsMax && nowMs < toMs + clockMsMax, `its clock is ${nowMs - fromMs} ms off`)
      for (const value of own) seen.add(value)
      taken.push(toMs - fromMs - holdMs)
      await checkReceipt(platform, reply.headers.get('hearth-invocation-id') ?? '', snapshot)
    }
  }
  const fromMs = performance.now()
  await Promise.all(Array.from({ length: clients }, client))
  const perSecond = (count * 1_000) / (performance.now() - fromMs)
  assert.equal(seen.size, 4 * count, 'a name or a random value came twice')
  taken.sort((a, b) => a - b)
  const at = (share: number): number => taken[Math.min(count - 1, Math.floor(share * count))] ?? 0
  t.diagnostic(
    `${count} VMs, ${clients} at a time: p50 ${at(0.5)} ms, p95 ${at(0.95)} ms, worst ${at(1)} ms; ${perSecond.toFixed(1)} a second`,
  )
}

async function checkReceipt(platform: Platform, id: string, snapshot: string): Promise<void> {
  const reply = await call(platform, 'GET', `/v1/invocations/${id}`)
  assert.equal(reply.status, 200, reply.body.toString())
  const { attempts } = reply.json<{ attempts: readonly { snapshot: string | null }[] }>()
  assert.deepEqual(
    attempts.map((attempt) => attempt.snapshot),
    [snapshot],
  )
}

/** Looks at the VMMs of `platform` while `work` goes on: how many there were at most, and what each then held (PSS, MiB). */
export async function watchVmms(platform: Platform, work: Promise<void>): Promise<{ most: number; pssMib: number }> {
  let found = { most: 0, pssMib: 0 }
  const look = setInterval(() => {
    const pss = vmmsOf(platform)
    if (pss.length > found.most)
      found = { most: pss.length, pssMib: pss.reduce((sum, each) => sum + each, 0) / pss.length }
  }, 200)
  try {
    await work
  } finally {
    clearInterval(look)
  }
  return found
}

/** PSS of each VMM of the platform, in MiB: memory that several share counts for each by its part. */
export function vmmsOf(platform: Platform): number[] {
  return pidsOf(platform.data).flatMap((pid) => {
    try {
      if (!readFileSync(`/proc/${pid}/comm`, 'utf8').startsWith('qemu')) return []
      return [Number(/^Pss:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))?.[1]) / 1024]
    } catch {
      return [] // It ended meanwhile.
    }
  })
}
