import assert from 'node:assert/strict'
import { call, deployFiles, invoke, nodeFunction } from '../support/functions.ts'
import { heldAtRest, leftovers, untilHeld, type Held } from '../support/leftovers.ts'
import { startPlatform, type Platform } from '../support/platform.ts'
import { seededTest, type Random } from '../support/seeded.ts'

const invocations = Number(process.env['HEARTH_TEST_INVOCATIONS'] ?? 20_000)
const clients = 64
const functions = 8

/* Eight functions that return, throw, exit, hang, log, grow, spawn and answer binary; every reply must be what its request asks for, and the
 * platform's own figures must agree with what the clients saw. */
const source = `
const { spawn } = require('node:child_process')
exports.handler = async ({ do: act, n }) => {
  if (act === 'throw') throw new Error('n' + n)
  if (act === 'exit') process.exit(1)
  if (act === 'hang') return new Promise(() => {})
  if (act === 'log') for (let i = 0; i < 200; i++) console.log('line', i, 'of', n)
  if (act === 'spawn') spawn('sleep', ['60'])
  if (act === 'large') return 'x'.repeat(300000) + n
  if (act === 'binary') return Buffer.from([0, 255, n & 255, n >> 8 & 255])
  return n
}`

/** What an act may end as, when the platform let it run. */
const outcomes = {
  return: 'succeeded',
  throw: 'failed',
  log: 'succeeded',
  spawn: 'succeeded',
  large: 'succeeded',
  binary: 'succeeded',
  exit: 'crashed',
  hang: 'timed_out',
} as const
type Act = keyof typeof outcomes

const common: readonly Act[] = ['return', 'return', 'return', 'return', 'throw', 'log', 'spawn', 'large', 'binary']
const rare: readonly Act[] = ['exit', 'hang']

const statuses: Readonly<Record<string, readonly number[]>> = {
  succeeded: [200],
  failed: [200],
  crashed: [502],
  timed_out: [504],
  expired: [503],
}

seededTest(
  `${invocations} mixed invocations over eight functions: every answer belongs to its request, every invocation ends once`,
  async (random, t) => {
    const platform = await startPlatform()
    try {
      for (let n = 0; n < functions; n++)
        await deployFiles(
          platform,
          nodeFunction(`flood-${n}`, source, { memoryMib: 128, timeoutMs: 30_000, keepAliveMs: 2_000 }),
        )
      const before = await heldAtRest(platform)
      const seen = await flood(platform, random)
      const counts = Object.fromEntries(seen.counts)
      t.diagnostic(JSON.stringify(counts))
      assert.equal(seen.ids.size, invocations, 'each invocation has an id of its own')
      assert.ok((counts['succeeded'] ?? 0) > invocations * 0.7, JSON.stringify(counts))
      for (const outcome of ['failed', 'crashed', 'timed_out']) assert.ok((counts[outcome] ?? 0) > 0, outcome)
      assert.deepEqual(await countedBy(platform), counts, 'what the platform counted is what the clients saw')
      await checkReceipts(platform, seen.ids, random)
      await checkRest(platform, before)
    } finally {
      assert.equal(await platform.stop(), 0)
      assert.deepEqual(leftovers(platform.data), [])
    }
  },
)

interface Seen {
  readonly counts: Map<string, number>
  /** Outcome by invocation id. */
  readonly ids: Map<string, string>
}

async function flood(platform: Platform, random: Random): Promise<Seen> {
  const counts = new Map<string, number>()
  const ids = new Map<string, string>()
  let sent = 0
  const client = async (): Promise<void> => {
    while (sent < invocations) {
      const n = sent++
      const act = random.next() < 0.01 ? random.pick(rare) : random.pick(common)
      const { id, outcome } = await one(platform, `flood-${random.below(functions)}`, { act, n })
      counts.set(outcome, (counts.get(outcome) ?? 0) + 1)
      ids.set(id, outcome)
    }
  }
  await Promise.all(Array.from({ length: clients }, client))
  return { counts, ids }
}

async function one(
  platform: Platform,
  name: string,
  { act, n }: { act: Act; n: number },
): Promise<{ id: string; outcome: string }> {
  const limit = act === 'hang' ? { 'hearth-timeout-ms': '1000' } : {}
  const { status, headers, body } = await invoke(platform, name, { do: act, n }, limit)
  const outcome = headers.get('hearth-outcome') ?? 'none'
  const said = `${act} ${n} on ${name}: ${status} ${outcome} ${body.toString().slice(0, 200)}`
  assert.ok(statuses[outcome]?.includes(status), said)
  // No queue overflows by so many clients, and 30 s are enough for everybody; the one second of a hang may pass before its start.
  if (outcome !== outcomes[act] && (act !== 'hang' || outcome !== 'expired')) {
    const receipt = await call(platform, 'GET', `/v1/invocations/${headers.get('hearth-invocation-id')}`)
    assert.equal(outcome, outcomes[act], `${said}\n${receipt.body.toString()}\n${platform.output().slice(-2000)}`)
  }
  if (outcome === 'failed') assert.match(body.toString(), new RegExp(`"n${n}"`), said)
  if (outcome === 'succeeded' && act === 'binary') assert.deepEqual([...body], [0, 255, n & 255, (n >> 8) & 255], said)
  else if (outcome === 'succeeded' && act === 'large') {
    assert.equal(body.length, 300_002 + String(n).length, said)
    assert.ok(body.toString().endsWith(`x${n}"`), said)
  } else if (outcome === 'succeeded') assert.equal(body.toString(), String(n), said)
  return { id: headers.get('hearth-invocation-id') ?? '', outcome }
}

/** The platform's own counters over all functions. */
async function countedBy(platform: Platform): Promise<Record<string, number>> {
  const text = (await call(platform, 'GET', '/metrics')).body.toString()
  const counts: Record<string, number> = {}
  for (const [, outcome = '', count] of text.matchAll(/^hearth_invocations_total\{.*outcome="(\w+)".*\} (\d+)$/gm))
    if (Number(count) > 0) counts[outcome] = (counts[outcome] ?? 0) + Number(count)
  return counts
}

/** A sample of 200 receipts says what the reply said. */
async function checkReceipts(platform: Platform, ids: ReadonlyMap<string, string>, random: Random): Promise<void> {
  const all = [...ids.keys()]
  for (let n = 0; n < 200; n++) {
    const id = random.pick(all)
    const reply = await call(platform, 'GET', `/v1/invocations/${id}`)
    assert.equal(reply.status, 200, `receipt of ${id}`)
    assert.equal(reply.json<{ outcome: string }>().outcome, ids.get(id))
  }
}

/** Once the keep-alive has passed, the platform holds what it held before: Instances, cgroups, mounts, folders, descriptors. */
async function checkRest(platform: Platform, before: Held): Promise<void> {
  await untilHeld(platform, before)
  const text = (await call(platform, 'GET', '/metrics')).body.toString()
  for (const name of ['running', 'queued'])
    for (const [line] of text.matchAll(new RegExp(`^hearth_invocations_${name}\\{.*$`, 'gm'))) assert.match(line, / 0$/)
}
