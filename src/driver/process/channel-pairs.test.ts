import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { test, type TestContext } from 'node:test'
import { until } from '../../../test/support/until.ts'
import { ChannelPairs, closePair } from './channel-pairs.ts'

function open(t: TestContext): { folder: string; pairs: ChannelPairs } {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'hearth-pairs-'))
  const pairs = new ChannelPairs(folder)
  t.after(async () => {
    await pairs.close()
    rmSync(folder, { recursive: true, force: true })
  })
  return { folder, pairs }
}

test('ChannelPairs: each taker has a pair of its own, the one that was made ahead goes to the first', async (t) => {
  const { folder, pairs } = open(t)
  pairs.prepareSoon()
  await until(() => readdirSync(folder).length === 2 || 'not made', { what: 'the spare pair' })
  const ahead = readdirSync(folder).sort()
  const [one, two] = await Promise.all([pairs.take(), pairs.take()])
  assert.deepEqual([one.runtime.path, one.supervisor.path].map((file) => path.basename(file)).sort(), ahead)
  assert.notEqual(one.runtime.path, two.runtime.path)
  const client = net.connect(one.runtime.path)
  await once(client, 'connect')
  const accepted = await one.runtime.accept()
  client.end('hello')
  assert.equal(String((await once(accepted, 'data'))[0]), 'hello')
  accepted.destroy()
  await closePair(one)
  await closePair(two)
  assert.deepEqual(readdirSync(folder), [])
})

test('ChannelPairs: closed, it leaves nothing and makes nothing ahead any more', async (t) => {
  const { folder, pairs } = open(t)
  pairs.prepareSoon()
  await until(() => readdirSync(folder).length === 2 || 'not made', { what: 'the spare pair' })
  await pairs.close()
  assert.deepEqual(readdirSync(folder), [])
  pairs.prepareSoon()
  await new Promise((resolve) => setTimeout(resolve, 60))
  assert.deepEqual(readdirSync(folder), [])
})

test('ChannelPairs: a folder that is not there is told with its path, and none of the pair stays', async (t) => {
  const { folder, pairs } = open(t)
  rmSync(folder, { recursive: true })
  await assert.rejects(pairs.take(), { code: 'driver_failed', message: /^Cannot listen at ".*hearth-pairs-/ })
})
