import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { killAtPoints } from '../support/crash-points.ts'
import { leftovers } from '../support/leftovers.ts'
import { startPlatform } from '../support/platform.ts'
import { seededTest } from '../support/seeded.ts'

const points = Number(process.env['HEARTH_TEST_KILLS'] ?? 100)

seededTest(
  `${points} kills of platform and launcher, running and starting: nothing acknowledged is lost, nothing is left`,
  async (random, t) => {
    const folder = await mkdtemp(path.join(os.tmpdir(), 'hearth-kill-'))
    const data = path.join(folder, 'data')
    const { platform, hits } = await killAtPoints(data, { points, random, isWide: true })
    t.diagnostic(`hits ${JSON.stringify(hits)}`)
    await platform.kill9()
    const last = await startPlatform({ data, keepData: true })
    assert.equal(await last.stop(), 0)
    assert.deepEqual(leftovers(data), [])
    await rm(folder, { recursive: true, force: true })
  },
)
