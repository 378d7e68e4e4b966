import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { LogLine } from '../../domain/agent.ts'
import { ManualClock } from '../../domain/clock.ts'
import { silentLogger } from '../../domain/logger.ts'
import { FunctionLog } from './function-log.ts'
import { existsSync } from 'node:fs'
import { mkdtemp, readdir, rm, truncate } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'

async function withLog(
  run: (open: () => FunctionLog, folder: string, clock: ManualClock) => Promise<void>,
  limits = { segmentBytes: 1_000, segmentsMax: 3 },
): Promise<void> {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'hearth-log-'))
  const clock = new ManualClock()
  try {
    await run(() => new FunctionLog(folder, { clock, logger: silentLogger, limits }), folder, clock)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

const write = (log: FunctionLog, from: number, to: number): void => {
  for (let n = from; n < to; n++) log.append(n, 'o', { invocation: `inv-${n}`, instance: 'i-1', text: `line ${n}` })
}
const texts = (lines: readonly LogLine[]): string[] => lines.map(({ text }) => text)

test('append: readable at once, before it is on disk', async () => {
  await withLog(async (open, folder) => {
    const log = open()
    write(log, 0, 2)
    assert.deepEqual(texts(await log.tail(10)), ['line 0', 'line 1'])
    assert.deepEqual(await readdir(folder), [])
  })
})

test('append: on disk 50 ms later, in one write', async () => {
  await withLog(async (open, folder, clock) => {
    const log = open()
    write(log, 0, 3)
    clock.advance(50)
    await log.flush()
    assert.deepEqual(await readdir(folder), ['0000000000000000.log'])
    assert.deepEqual(texts(await open().tail(10)), ['line 0', 'line 1', 'line 2'])
  })
})

test('tail: the last lines over segments and memory, with offsets that resume', async () => {
  await withLog(async (open) => {
    const log = open()
    for (let n = 0; n < 60; n += 10) {
      write(log, n, n + 10)
      await log.flush()
    }
    write(log, 60, 65)
    const last = await log.tail(12)
    assert.deepEqual(
      texts(last),
      Array.from({ length: 12 }, (_, n) => `line ${n + 53}`),
    )
    assert.deepEqual(await log.tail(0), [])
    const stop = new AbortController()
    const seen: string[] = []
    for await (const { text } of log.follow(last[9]?.offset, stop.signal)) {
      seen.push(text)
      if (seen.length === 2) stop.abort()
    }
    assert.deepEqual(seen, ['line 63', 'line 64'])
  })
})

test('rotation: bounded in size, offsets go on, the oldest lines are gone', async () => {
  await withLog(async (open, folder) => {
    const log = open()
    for (let n = 0; n < 300; n += 10) {
      write(log, n, n + 10)
      await log.flush()
    }
    assert.equal((await readdir(folder)).length, 3)
    const lines = await log.tail(10_000)
    assert.equal(lines.at(-1)?.text, 'line 299')
    assert.ok(lines.length < 100, `${lines.length} lines`)
    const offsets = lines.map(({ offset }) => offset)
    assert.deepEqual(
      offsets,
      offsets.toSorted((a, b) => a - b),
    )
  })
})

test('restart: offsets survive, half a line left by a crash does not spoil the next', async () => {
  await withLog(async (open, folder) => {
    const before = open()
    write(before, 0, 5)
    await before.flush()
    const [last] = await before.tail(1)
    const [name] = await readdir(folder)
    await truncate(path.join(folder, name ?? ''), (last?.offset ?? 0) - 4)
    const after = open()
    write(after, 5, 7)
    await after.flush()
    const lines = await open().tail(100)
    assert.deepEqual(texts(lines), ['line 0', 'line 1', 'line 2', 'line 3', 'lin', 'line 5', 'line 6'])
    assert.ok((lines.at(-1)?.offset ?? 0) > (last?.offset ?? 0) - 4)
  })
})

test('follow: live lines come as they are sealed; a slow reader loses none', async () => {
  await withLog(
    async (open) => {
      const log = open()
      await log.tail(0)
      const stop = new AbortController()
      const seen: string[] = []
      const following = (async () => {
        for await (const { text } of log.follow(undefined, stop.signal)) {
          seen.push(text)
          if (seen.length % 5_000 === 0) await new Promise((resolve) => setTimeout(resolve, 5))
        }
      })()
      await new Promise((resolve) => setImmediate(resolve))
      for (let n = 0; n < 25_000; n += 1_000) {
        write(log, n, n + 1_000)
        await log.flush()
      }
      for (let tries = 0; tries < 200 && seen.length < 25_000; tries++)
        await new Promise((resolve) => setTimeout(resolve, 5))
      stop.abort()
      await following
      assert.equal(seen.length, 25_000)
      assert.deepEqual([seen[0], seen.at(-1)], ['line 0', 'line 24999'])
    },
    { segmentBytes: 4 * 1024 * 1024, segmentsMax: 8 },
  )
})

test('follow: from an offset that a kill took with its lines, new lines come all the same', async () => {
  await withLog(async (open) => {
    const log = open()
    write(log, 0, 5)
    await log.flush()
    const lines = log.follow(1_000_000, AbortSignal.timeout(5_000))
    const first = lines.next()
    await new Promise((resolve) => setImmediate(resolve))
    await log.tail(0)
    write(log, 5, 7)
    await log.flush()
    const seen = [(await first).value, (await lines.next()).value].flatMap((line) => line ?? [])
    assert.deepEqual(texts(seen), ['line 5', 'line 6'])
    await lines.return(undefined)
  })
})

test('text: tabs and control characters stay as they were', async () => {
  await withLog(async (open) => {
    const log = open()
    const text = 'a\tb\u001b[31mc\r\u0000d'
    log.append(1, 'e', { invocation: null, instance: 'i-1', text })
    await log.flush()
    const [line] = await open().tail(1)
    assert.deepEqual([line?.text, line?.stream, line?.invocation], [text, 'stderr', null])
  })
})

test('a disk that refuses: lines are dropped and counted, nothing throws, and it is said once', async () => {
  const clock = new ManualClock()
  let warnings = 0
  // A folder below a file cannot be made.
  const log = new FunctionLog(path.join(import.meta.filename, 'below'), {
    clock,
    logger: { ...silentLogger, warn: () => void warnings++ },
    limits: { segmentBytes: 1_000, segmentsMax: 3 },
  })
  write(log, 0, 1)
  await log.flush()
  assert.match((await log.tail(1))[0]?.text ?? '', /^\[hearth\] dropped \d+ bytes of log output: the disk/)
  await log.flush()
  write(log, 1, 3)
  await log.flush()
  assert.deepEqual(await log.tail(1), [])
  assert.equal(warnings, 1)
})

test('delete: also while it is written; what is said later goes nowhere, and a follower comes to its end', async () => {
  await withLog(async (open, folder, clock) => {
    const log = open()
    const seen: string[] = []
    const following = (async () => {
      for await (const { text } of log.follow(0, new AbortController().signal)) seen.push(text)
    })()
    write(log, 0, 200)
    const flushing = log.flush()
    await log.delete()
    await flushing
    write(log, 200, 300)
    clock.advance(50)
    await log.flush()
    await following
    assert.equal(seen.length, 200)
    assert.equal(existsSync(folder), false)
    assert.deepEqual(await log.tail(10), [])
  })
})
