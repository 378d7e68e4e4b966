import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { test } from 'node:test'
import { killAtPoints, leftovers } from '../support/crash-points.ts'
import { startPlatform } from '../support/platform.ts'

test('100 kills at seeded points of deploy and invoke: nothing acknowledged is lost, nothing is left', async () => {
  const seed = Number(process.env['HEARTH_TEST_SEED'] ?? 1)
  const folder = await mkdtemp(path.join(os.tmpdir(), 'hearth-kill-'))
  const data = path.join(folder, 'data')
  const survivor = await killAtPoints(data, 100, seed)
  await survivor.kill9()
  const last = await startPlatform({ data, keepData: true })
  assert.equal(await last.stop(), 0)
  assert.deepEqual(leftovers(data), [])
  await rm(folder, { recursive: true, force: true })
})
