import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Exit } from '../domain/driver.ts'
import { silentLogger } from '../domain/logger.ts'
import { LauncherClient } from './launcher-client.ts'
import { duplexPair, type Duplex } from 'node:stream'

function open(): { client: LauncherClient; launcher: Duplex; asked: string[] } {
  const [ours, launcher] = duplexPair()
  const asked: string[] = []
  launcher.setEncoding('utf8').on('data', (line: string) => void asked.push(line))
  return { client: new LauncherClient(ours, silentLogger), launcher, asked }
}

const turn = async (): Promise<void> => new Promise((resolve) => void setImmediate(resolve))

test('request: one line each way, answers by id in any order', async () => {
  const { client, launcher, asked } = open()
  const [freeze, stats] = [client.request('freeze', { instance: 'i-1' }), client.request('stats', { instance: 'i-2' })]
  await turn()
  assert.deepEqual(asked, ['{"id":1,"verb":"freeze","instance":"i-1"}\n', '{"id":2,"verb":"stats","instance":"i-2"}\n'])
  launcher.write('{"id":2,"ok":true,"pids":3}\n{"id":1,')
  launcher.write('"ok":true}\n')
  assert.equal((await stats)['pids'], 3)
  await freeze
})

test('request: a refusal is driver_failed with the step and the words of the launcher', async () => {
  const { client, launcher } = open()
  const asked = client.request('spawn', { instance: 'i-1' })
  launcher.write('{"id":1,"ok":false,"error":"No space left on device","step":"cgroup.memory"}\n')
  await assert.rejects(asked, {
    code: 'driver_failed',
    message: 'Cannot spawn instance "i-1": the launcher failed at step "cgroup.memory": No space left on device',
  })
})

test('exited: told once to whom it concerns', async () => {
  const { client, launcher } = open()
  const exits: Exit[] = []
  client.onExited('i-1', (exit) => void exits.push(exit))
  const line = '{"event":"exited","instance":"i-1","code":null,"signal":"SIGKILL","oom":true}\n'
  launcher.write(line + line)
  await turn()
  assert.deepEqual(exits, [{ code: null, signal: 'SIGKILL', oom: true }])
})

test('end: requests fail, and every sandbox has exited', async () => {
  const { client, launcher } = open()
  const asked = client.request('bind', { instance: 'i-1' })
  const exited = new Promise<Exit>((resolve) => client.onExited('i-1', resolve))
  launcher.end()
  await assert.rejects(asked, { code: 'driver_failed', message: 'Cannot bind instance "i-1": the launcher is gone.' })
  assert.equal((await exited).signal, 'SIGKILL')
  await assert.rejects(client.request('probe'), /the launcher is gone/)
})

test('noise: a line that is not JSON is ignored, one without end closes the channel', async () => {
  const { client, launcher } = open()
  launcher.write('what?\n')
  await turn()
  assert.equal(client.isClosed, false)
  launcher.write('x'.repeat(70_000))
  await turn()
  assert.equal(client.isClosed, true)
})
