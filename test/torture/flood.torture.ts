import assert from 'node:assert/strict'
import { test } from 'node:test'
import { random } from '../support/crash-points.ts'
import { deployFiles, invoke } from '../support/functions.ts'
import { startPlatform, type Platform } from '../support/platform.ts'

const invocations = 20_000
const clients = 64

/* Eight functions that return, throw, exit, hang, log, grow, spawn and answer binary; every reply must be one of the contract's, match its request,
 * and every invocation must have ended in exactly one outcome. */
const source = `
const { spawn } = require('node:child_process')
exports.handler = async ({ do: act, n }) => {
  if (act === 'throw') throw new Error('n' + n)
  if (act === 'exit') process.exit(1)
  if (act === 'hang') return new Promise(() => {})
  if (act === 'log') for (let i = 0; i < 200; i++) console.log('line', i, 'of', n)
  if (act === 'spawn') spawn('sleep', ['60'])
  if (act === 'large') return 'x'.repeat(300000) + n
  return n
}`

const mix = [
  'return',
  'return',
  'return',
  'return',
  'return',
  'return',
  'throw',
  'log',
  'spawn',
  'large',
  'exit',
  'hang',
] as const

test('20,000 mixed invocations over eight functions: every answer is of the contract and belongs to its request', async () => {
  const next = random(Number(process.env['HEARTH_TEST_SEED'] ?? 1))
  const platform = await startPlatform()
  try {
    for (let n = 0; n < 8; n++)
      await deployFiles(platform, {
        name: `flood-${n}`,
        runtime: 'node',
        handler: 'index.handler',
        files: { 'index.js': source },
        config: { memoryMib: 128, timeoutMs: 1_000 },
      })
    const outcomes = new Map<string, number>()
    let sent = 0
    const client = async (): Promise<void> => {
      while (sent < invocations) {
        const n = sent++
        const rare = next() < 0.02
        const act = mix[Math.floor(next() * (rare ? mix.length : mix.length - 2))] ?? 'return'
        const outcome = await one(platform, `flood-${Math.floor(next() * 8)}`, { act, n })
        outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1)
      }
    }
    await Promise.all(Array.from({ length: clients }, client))
    const total = [...outcomes.values()].reduce((sum, count) => sum + count, 0)
    assert.equal(total, invocations)
    assert.ok((outcomes.get('succeeded') ?? 0) > invocations * 0.5, JSON.stringify([...outcomes]))
    console.log(JSON.stringify(Object.fromEntries(outcomes)))
  } finally {
    assert.equal(await platform.stop(), 0)
  }
})

async function one(platform: Platform, name: string, { act, n }: { act: string; n: number }): Promise<string> {
  const reply = await invoke(platform, name, { do: act, n })
  const outcome = reply.headers.get('hearth-outcome') ?? 'none'
  assert.ok(
    [200, 429, 502, 503, 504].includes(reply.status),
    `${reply.status} for ${act}: ${reply.body.toString().slice(0, 200)}`,
  )
  if (outcome === 'succeeded')
    assert.ok(reply.body.toString().replaceAll('"', '').endsWith(String(n)), `answer of another request for ${n}`)
  if (outcome === 'failed') assert.match(reply.body.toString(), new RegExp(`n${n}"`))
  return outcome
}
