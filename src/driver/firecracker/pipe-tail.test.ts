import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import {
  closeSync,
  constants,
  mkdtempSync,
  openSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { after, test } from 'node:test'
import { until } from '../../../test/support/until.ts'
import { PipeTail } from './pipe-tail.ts'

const folder = mkdtempSync(path.join(os.tmpdir(), 'hearth-pipe-'))
after(() => rmSync(folder, { recursive: true }))

/** A pipe with a reader, and the VMM's end of it, opened as Firecracker does. */
function opened(name: string, bytesMax: number): { tail: PipeTail; fd: number } {
  const file = path.join(folder, name)
  execFileSync('mkfifo', [file])
  const tail = PipeTail.open(file, bytesMax)
  return { tail, fd: openSync(file, constants.O_WRONLY | constants.O_NONBLOCK) }
}

test('PipeTail keeps the last of what is written, also when its writer comes again', async () => {
  const { tail, fd } = opened('last', 10)
  writeSync(fd, 'first\n')
  await until(() => tail.read() === 'first\n' || tail.read(), { what: 'the first line' })
  writeSync(fd, 'second\n')
  await until(() => tail.read() === 'st\nsecond\n' || tail.read(), { what: 'the second line' })
  closeSync(fd)
  const again = openSync(path.join(folder, 'last'), constants.O_WRONLY | constants.O_NONBLOCK)
  writeSync(again, 'a line longer than all that is kept\n')
  await until(() => tail.read() === 't is kept\n' || tail.read(), { what: 'the third line' })
  closeSync(again)
  tail.close()
})

test('PipeTail close reads what is still in the pipe', () => {
  const { tail, fd } = opened('rest', 100)
  writeSync(fd, 'the last words\n')
  closeSync(fd)
  tail.close()
  assert.equal(tail.read(), 'the last words\n')
  tail.close()
})

test('PipeTail reads a part of what a flood brings; the writer finds the pipe full and is not held up', async () => {
  const { tail, fd } = opened('flood', 100)
  const line = Buffer.alloc(4_096, 'x')
  let taken = 0
  let refusals = 0
  const endMs = performance.now() + 900
  while (performance.now() < endMs) {
    try {
      taken += writeSync(fd, line)
    } catch (error) {
      assert.match(String(error), /EAGAIN/)
      refusals++
      await new Promise((resolve) => setImmediate(resolve))
    }
  }
  assert.ok(refusals > 0)
  // What it reads in a second, and what the pipe holds twice: before it was read and after.
  assert.ok(taken >= 256 * 1024 && taken <= 512 * 1024, `${taken} bytes`)
  closeSync(fd)
  tail.close()
})

test('PipeTail opens neither links nor what is no pipe, and holds nothing of it', () => {
  const before = readdirSync('/proc/self/fd').length
  const link = path.join(folder, 'link')
  symlinkSync('/etc/passwd', link)
  assert.throws(() => PipeTail.open(link, 10), /ELOOP/)
  const file = path.join(folder, 'file')
  writeFileSync(file, 'words')
  assert.throws(() => PipeTail.open(file, 10), /is no pipe/)
  assert.equal(readdirSync('/proc/self/fd').length, before)
})
