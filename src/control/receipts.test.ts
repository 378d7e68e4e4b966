import { ManualClock, systemClock } from '../domain/clock.ts'
import type { Receipt } from '../domain/invocation.ts'
import { silentLogger } from '../domain/logger.ts'
import { openReceiptLog } from './receipts.ts'
import assert from 'node:assert/strict'
import { appendFile, mkdtemp, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import type { TestContext } from 'node:test'
import { turnsUntil } from '../../test/support/turns.ts'

test('find returns a receipt before and after it is written, and null for unknown or odd ids', async (t) => {
  const { log, clock } = await opened(t)
  const receipt = receiptAt(clock.nowMs(), 1)
  log.append(receipt)
  assert.equal(await log.find(receipt.id), receipt)
  const flushing = log.flush()
  assert.deepEqual(await log.find(receipt.id), receipt)
  await flushing
  assert.deepEqual(await log.find(receipt.id), receipt)
  assert.equal(await log.find(idAt(clock.nowMs(), 2)), null)
  for (const id of ['', 'x', '..', `${receipt.id}"`, receipt.id.toUpperCase()]) assert.equal(await log.find(id), null)
})

test('append is written within 100 ms of the clock', async (t) => {
  const { log, clock, folder } = await opened(t)
  log.append(receiptAt(clock.nowMs(), 1))
  clock.advance(99)
  assert.deepEqual(await readdir(folder), [])
  clock.advance(1)
  await log.flush()
  const [name] = await readdir(folder)
  assert.match(name ?? '', /^\d{13}-000001\.ndjson$/)
})

test('find and recent survive a restart', async (t) => {
  const { log, clock, folder } = await opened(t)
  const receipts = Array.from({ length: 300 }, (_, i) => receiptAt(clock.nowMs(), i, i % 2 === 0 ? 'f' : 'g'))
  for (const receipt of receipts) log.append(receipt)
  await log.close()
  const again = await openReceiptLog({ folder, clock, logger: silentLogger })
  t.after(() => again.close())
  for (const receipt of receipts) assert.deepEqual(await again.find(receipt.id), receipt)
  const added = receiptAt(clock.nowMs(), 300)
  again.append(added)
  const recent = await again.recent('p', 'f', 5)
  assert.deepEqual(recent, [added, receipts[298], receipts[296], receipts[294], receipts[292]])
  assert.equal((await again.recent('p', 'f', 1_000)).length, 151)
  assert.deepEqual(await again.recent('q', 'f', 5), [])
  assert.deepEqual(await again.recent('p', null, 3), [added, receipts[299], receipts[298]])
  assert.deepEqual(await again.recent('q', null, 3), [])
  await again.flush()
  assert.equal((await readdir(folder)).length, 1)
})

test('recent is newest first across memory and disk, without duplicates', async (t) => {
  const { log, clock } = await opened(t)
  const receipts = Array.from({ length: 200 }, (_, i) => receiptAt(clock.nowMs(), i))
  for (const receipt of receipts.slice(0, 100)) log.append(receipt)
  await log.flush()
  for (const receipt of receipts.slice(100)) log.append(receipt)
  const flushing = log.flush()
  assert.deepEqual(await log.recent('p', 'f', 150), receipts.slice(50).toReversed())
  await flushing
  assert.deepEqual(await log.recent('p', 'f', 500), receipts.toReversed())
})

test('openReceiptLog cuts a torn last line off, counts it and goes on behind it', async (t) => {
  const { log, clock, folder } = await opened(t)
  const receipts = Array.from({ length: 130 }, (_, i) => receiptAt(clock.nowMs(), i))
  for (const receipt of receipts) log.append(receipt)
  await log.close()
  const [name = ''] = await readdir(folder)
  await truncate(join(folder, name), (await stat(join(folder, name))).size - 10)
  const again = await openReceiptLog({ folder, clock, logger: silentLogger })
  t.after(() => again.close())
  assert.deepEqual(again.losses(), { tornLines: 1, droppedReceipts: 0 })
  assert.deepEqual(await again.find(receipts[127]?.id ?? ''), receipts[127])
  assert.equal(await again.find(receipts[128]?.id ?? ''), null)
  const added = receiptAt(clock.nowMs(), 200)
  again.append(added)
  await again.flush()
  assert.deepEqual((await again.recent('p', 'f', 2))[0], added)
  assert.ok((await readFile(join(folder, name), 'utf8')).endsWith(']\n'))
})

test('find ignores and counts a line of garbage in the middle', async (t) => {
  const { log, clock, folder } = await opened(t)
  const [first, second] = [receiptAt(clock.nowMs(), 1), receiptAt(clock.nowMs(), 2)]
  log.append(first)
  await log.close()
  const [name = ''] = await readdir(folder)
  await appendFile(join(folder, name), `\0\0\0"${second.id}"\0\0\n`)
  const again = await openReceiptLog({ folder, clock, logger: silentLogger })
  t.after(() => again.close())
  again.append(second)
  await again.flush()
  assert.deepEqual(await again.find(first.id), first)
  assert.deepEqual(await again.find(second.id), second)
  assert.equal((await again.recent('p', 'f', 10)).length, 2)
})

test('segments stay within the bound in bytes, and the newest receipts stay', async (t) => {
  const { log, clock, folder } = await opened(t, { bytesMax: 200_000, segmentBytes: 40_000 })
  const receipts = Array.from({ length: 1_000 }, (_, i) => receiptAt(clock.nowMs() + i, i))
  for (const receipt of receipts) {
    log.append(receipt)
    clock.advance(1)
    if (clock.nowMs() % 20 === 0) await log.flush()
  }
  await log.flush()
  const names = await readdir(folder)
  const sizes = await Promise.all(names.map(async (name) => (await stat(join(folder, name))).size))
  assert.ok(sizes.reduce((sum, size) => sum + size, 0) <= 200_000)
  assert.ok(sizes.every((size) => size <= 40_000))
  assert.ok(names.length >= 3)
  const kept = await log.recent('p', 'f', 100)
  assert.deepEqual(kept, receipts.slice(-100).toReversed())
})

test('segments older than the age limit go, at writing and at opening', async (t) => {
  const day = 24 * 3_600_000
  const { log, clock, folder } = await opened(t)
  for (let i = 0; i < 10; i++) {
    log.append(receiptAt(clock.nowMs(), i))
    await log.flush()
    clock.advance(day + 1)
  }
  assert.equal((await readdir(folder)).length, 8)
  await log.close()
  clock.advance(30 * day)
  const again = await openReceiptLog({ folder, clock, logger: silentLogger })
  await again.close()
  assert.equal((await readdir(folder)).length, 1)
})

test('find reads an old receipt by the time in its id, from disk', async (t) => {
  const { log, clock, folder } = await opened(t, { segmentBytes: 5_000 })
  const receipts: Receipt[] = []
  for (let i = 0; i < 200; i++) {
    const receipt = receiptAt(clock.nowMs(), i)
    receipts.push(receipt)
    // It ends, and is appended, 10 minutes after it began.
    clock.advance(600_000)
    log.append(receipt)
    await log.flush()
  }
  await log.close()
  assert.ok((await readdir(folder)).length > 5)
  const again = await openReceiptLog({ folder, clock, logger: silentLogger })
  t.after(() => again.close())
  for (const receipt of receipts) assert.deepEqual(await again.find(receipt.id), receipt)
})

test('a disk that refuses drops receipts, counts them and recovers', async (t) => {
  const { log, clock, folder } = await opened(t)
  log.append(receiptAt(clock.nowMs(), 1))
  await rm(folder, { recursive: true })
  await writeFile(folder, 'a file in its place')
  await log.flush()
  assert.deepEqual(log.losses(), { tornLines: 0, droppedReceipts: 1 })
  await rm(folder)
  await (await openReceiptLog({ folder, clock, logger: silentLogger })).close()
  const receipt = receiptAt(clock.nowMs(), 2)
  log.append(receipt)
  await log.flush()
  assert.deepEqual(await log.recent('p', 'f', 5), [receipt])
})

test('flush of 40,000 receipts is done in slices, between which the event loop turns', async (t) => {
  const { log, clock } = await opened(t)
  for (let i = 0; i < 40_000; i++) log.append(receiptAt(clock.nowMs(), i))
  const turns = turnsUntil(log.flush())
  assert.equal(log.losses().droppedReceipts, 0)
  // Slices of 1 ms; in one piece it would be a turn or two, however slow the machine is.
  assert.ok((await turns) > 30, `${await turns} turns of the event loop`)
  assert.equal(log.losses().droppedReceipts, 0)
})

test('what was written before kill -9 is found again', async (t) => {
  // A kill takes what is in the process's memory: a log that is never closed or flushed again leaves the same files.
  const folder = await freshFolder(t)
  const killed = await openReceiptLog({ folder, clock: systemClock, logger: silentLogger })
  const receipt = receiptAt(Date.now(), 1)
  killed.append(receipt)
  await killed.flush()
  const lost = receiptAt(Date.now(), 2)
  killed.append(lost)
  const again = await openReceiptLog({ folder, clock: systemClock, logger: silentLogger })
  assert.deepEqual(await again.find(receipt.id), receipt)
  assert.equal(await again.find(lost.id), null)
  await again.close()
  await killed.close()
})

function receiptAt(createdAt: number, sequence: number, functionName = 'f'): Receipt {
  return {
    id: idAt(createdAt, sequence),
    project: 'p',
    function: functionName,
    version: 1,
    state: 'done',
    outcome: 'succeeded',
    effect: 'completed',
    createdAt,
    deadline: createdAt + 30_000,
    endedAt: createdAt + 3,
    attempts: [
      {
        node: 'local',
        instance: 'i-1',
        driver: 'process',
        vmm: null,
        snapshot: null,
        arch: 'x86_64',
        startedAt: createdAt,
        endedAt: createdAt + 3,
        outcome: 'succeeded',
      },
    ],
    phases: [{ phase: 'first_request', startMs: 0.1, durationMs: 1.25, source: 'none', bytes: 0 }],
    durationMs: 1.25,
    start: 'warm',
    coldCause: null,
    crashReason: null,
    memoryPeakMib: 34.5,
    bytesFetched: 0,
    ephemeralBytesPeak: 0,
    storageOps: 0,
    requestBytes: 200,
    responseBytes: 300,
    error: null,
  }
}

/** A UUIDv7. */
function idAt(createdMs: number, sequence: number): string {
  const time = createdMs.toString(16).padStart(12, '0')
  return `${time.slice(0, 8)}-${time.slice(8)}-7abc-8def-${sequence.toString(16).padStart(12, '0')}`
}

async function freshFolder(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'hearth-receipts-'))
  t.after(() => rm(folder, { recursive: true, force: true }))
  return folder
}

async function opened(t: TestContext, limits: { bytesMax?: number; segmentBytes?: number } = {}) {
  const clock = new ManualClock()
  const folder = await freshFolder(t)
  const log = await openReceiptLog({ folder, clock, logger: silentLogger, ...limits })
  t.after(() => log.close())
  return { log, clock, folder }
}
