import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { test } from 'node:test'
import { WorkerPool } from './worker-pool.ts'

test('WorkerPool: a thread serves the next job, ends when none comes, and another takes its place', async (t) => {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'hearth-pool-'))
  const file = path.join(folder, 'file')
  writeFileSync(file, 'content')
  const pool = new WorkerPool(2, 50)
  t.after(async () => {
    await pool.close()
    rmSync(folder, { recursive: true, force: true })
  })
  const first = await pool.run('hash', { file })
  assert.equal(await pool.run('hash', { file }), first)
  assert.equal(pool.threads, 1)
  const startedAt = performance.now()
  while (pool.threads > 0) {
    assert.ok(performance.now() - startedAt < 60_000, 'the idle thread stayed')
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
  assert.equal(await pool.run('hash', { file }), first)
})
