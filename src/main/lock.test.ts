import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { after, test } from 'node:test'
import { lockName, releaseLock, takeLock } from './lock.ts'

const data = mkdtempSync(path.join(os.tmpdir(), 'hearth-lock-'))
const lock = path.join(data, lockName)
after(() => rmSync(data, { recursive: true, force: true }))

test('takeLock: a second platform is refused with the pid of the first', () => {
  takeLock(data)
  assert.throws(
    () => takeLock(data),
    (error: Error & { code?: string }) => error.code === 'conflict' && error.message.includes(`process ${process.pid}`),
  )
  releaseLock(data)
  assert.equal(existsSync(lock), false)
})

test('takeLock: the lock of a dead process, of a recycled pid or half-written is taken over', () => {
  for (const content of ['{"pid":4194303,"startedAt":"1"}', `{"pid":${process.ppid},"startedAt":"1"}`, '{"pid"']) {
    writeFileSync(lock, content)
    takeLock(data)
    assert.equal((JSON.parse(readFileSync(lock, 'utf8')) as { pid: number }).pid, process.pid)
    assert.deepEqual(readdirSync(data), [lockName])
    releaseLock(data)
  }
})
