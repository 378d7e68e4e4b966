import assert from 'node:assert/strict'
import { deployFiles, invoke, nodeFunction } from '../support/functions.ts'
import { heldAtRest, heldBy, leftovers, untilHeld } from '../support/leftovers.ts'
import { startPlatform } from '../support/platform.ts'
import { seededTest } from '../support/seeded.ts'

const minutes = Number(process.env['HEARTH_TEST_SOAK_MINUTES'] ?? 5)

/** After its first fifth the platform has warmed up: caches are full, code is compiled. */
const warmShare = 0.2
const rssGrowthMibMax = 40

/* Fresh Instances without end, some of which crash or hang: what the platform holds at the end must be what it held before. */
const source = `
exports.handler = async (event) => {
  if (event.act === 'exit') process.exit(1)
  if (event.act === 'hang') return new Promise(() => {})
  if (event.act === 'log') for (let n = 0; n < 100; n++) console.log('line', n)
  return event.count
}`

seededTest(`${minutes} minutes of fresh Instances: what the platform holds stays level`, async (random, t) => {
  const platform = await startPlatform()
  try {
    await deployFiles(platform, nodeFunction('soak', source, { reuse: 'never', memoryMib: 128 }))
    const before = await heldAtRest(platform)
    const startedMs = performance.now()
    const share = (): number => (performance.now() - startedMs) / (minutes * 60_000)
    let count = 0
    const run = async (untilShare: number): Promise<void> => {
      while (share() < untilShare) {
        const act = random.next() < 0.9 ? 'echo' : random.pick(['exit', 'hang', 'log'])
        const limit = act === 'hang' ? { 'hearth-timeout-ms': '500' } : {}
        const reply = await invoke(platform, 'soak', { act, count }, limit)
        if (act === 'exit') assert.equal(reply.status, 502)
        else if (act === 'hang') assert.ok([503, 504].includes(reply.status), `${reply.status}`)
        else assert.equal(reply.json<number>(), count)
        count++
      }
    }
    await run(warmShare)
    const early = heldBy(platform)
    await run(1)
    await untilHeld(platform, before)
    const late = heldBy(platform)
    t.diagnostic(JSON.stringify({ count, before, early, late }))
    for (const what of ['platformRssMib', 'launcherRssMib'] as const)
      assert.ok(late[what] <= early[what] + rssGrowthMibMax, `${what}: ${early[what]} MiB became ${late[what]} MiB`)
  } finally {
    assert.equal(await platform.stop(), 0)
    assert.deepEqual(leftovers(platform.data), [])
  }
})
