import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { test } from 'node:test'
import { deployFiles, invoke } from '../support/functions.ts'
import { startPlatform, type Platform } from '../support/platform.ts'

const minutes = 5

/* Fresh Instances without end: what the platform holds after five minutes must be what it held after one. */
test('5 minutes of fresh Instances: file descriptors and memory of the platform stay level', async () => {
  const platform = await startPlatform()
  try {
    await deployFiles(platform, {
      name: 'soak',
      runtime: 'node',
      handler: 'index.handler',
      files: { 'index.js': 'exports.handler = async (event) => event\n' },
      config: { reuse: 'never', memoryMib: 128 },
    })
    const until = Date.now() + minutes * 60_000
    let early: Held | null = null
    let count = 0
    while (Date.now() < until) {
      const reply = await invoke(platform, 'soak', { count })
      assert.deepEqual(reply.json(), { count })
      count++
      if (early === null && Date.now() > until - (minutes - 1) * 60_000) early = held(platform)
    }
    const late = held(platform)
    console.log(JSON.stringify({ count, early, late }))
    assert.ok(early !== null)
    assert.ok(late.descriptors <= early.descriptors + 20, `${early.descriptors} descriptors became ${late.descriptors}`)
    assert.ok(late.rssMib <= early.rssMib + 40, `${early.rssMib} MiB became ${late.rssMib} MiB`)
  } finally {
    assert.equal(await platform.stop(), 0)
  }
})

interface Held {
  readonly descriptors: number
  readonly rssMib: number
}

function held(platform: Platform): Held {
  const rssMib = Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${platform.pid}/status`, 'utf8'))?.[1]) / 1024
  return { descriptors: readdirSync(`/proc/${platform.pid}/fd`).length, rssMib }
}
