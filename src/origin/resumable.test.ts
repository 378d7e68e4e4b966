import { rejects } from '../../test/support/rejects.ts'
import type { Clock } from '../domain/clock.ts'
import type { OriginAddress } from '../domain/code-source.ts'
import { AppError } from '../domain/error.ts'
import { silentLogger } from '../domain/logger.ts'
import { openResumable, type OpenPart, type Part } from './resumable.ts'
import { Trouble } from './trouble.ts'
import assert from 'node:assert/strict'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { test } from 'node:test'

const address: OriginAddress = { kind: 'https', source: 'https://example.com/a.zip', url: 'https://example.com/a.zip' }
const whole = Buffer.from('0123456789')
const patience = { retryMs: 10_000, stallMs: 60_000, totalMs: 100_000 }

/** Time passes by waiting alone: a wait for an attempt is over at once, one for a stall never. */
function fastClock(): Clock {
  let nowMs = 0
  const nothing = { cancel: () => {} }
  return {
    nowMs: () => nowMs,
    monotonicMs: () => nowMs,
    schedule: (delayMs: number, run: () => void) => {
      if (delayMs >= patience.stallMs) return nothing
      nowMs += delayMs
      setImmediate(run)
      return nothing
    },
  }
}

type From = Parameters<OpenPart>[0]

function part(from: From, changes: Partial<Part> = {}): Part {
  const offset = changes.offset ?? from.offset
  const content = Readable.from([whole.subarray(offset)])
  return { content, offset, bytes: whole.length, etag: '"one"', versionId: null, ...changes }
}

/** What is left from `offset`, cut after `count` bytes. */
function cut(offset: number, count: number): Readable {
  return Readable.from(
    (async function* () {
      yield whole.subarray(offset, offset + count)
      throw Object.assign(new Error('aborted'), { code: 'ECONNRESET' })
    })(),
  )
}

function opening(steps: readonly ((from: From) => Part)[]): { open: OpenPart; asked: From[] } {
  const asked: From[] = []
  const open: OpenPart = async (from) => {
    const step = steps[asked.length] ?? steps.at(-1)
    asked.push(from)
    assert.ok(step !== undefined)
    return step(from)
  }
  return { open, asked }
}

const fetched = async (open: OpenPart): Promise<string> => {
  const { content } = await openResumable({ address, open, patience, clock: fastClock(), logger: silentLogger })
  return (await buffer(content)).toString()
}

test('openResumable: cuts are resumed from the byte they came at, of the same object', async () => {
  const { open, asked } = opening([
    (from) => part(from, { content: cut(0, 3) }),
    (from) => part(from, { content: cut(3, 4) }),
    (from) => part(from),
  ])
  assert.equal(await fetched(open), whole.toString())
  assert.deepEqual(asked, [
    { offset: 0, etag: null },
    { offset: 3, etag: '"one"' },
    { offset: 7, etag: '"one"' },
  ])
})

test('openResumable: an orderly end before the last byte is a cut too', async () => {
  const { open } = opening([
    (from) => part(from, { content: Readable.from([whole.subarray(0, 4)]) }),
    (from) => part(from),
  ])
  assert.equal(await fetched(open), whole.toString())
})

test('openResumable: an origin without ranges begins anew, and what came already is left out', async () => {
  const { open } = opening([(from) => part(from, { content: cut(0, 6) }), (from) => part(from, { offset: 0 })])
  assert.equal(await fetched(open), whole.toString())
})

test('openResumable: another etag or size than at first is a conflict, never a mixture', async () => {
  for (const changes of [{ etag: '"two"' }, { bytes: 11 }]) {
    const { open } = opening([(from) => part(from, { content: cut(0, 6) }), (from) => part(from, changes)])
    await rejects(fetched(open), 'conflict', /a\.zip: it changed while it was read/)
  }
})

test('openResumable: trouble is tried again with growing waits, then capacity: what is deployed runs on', async () => {
  const down = (): never => {
    throw new Trouble('the server answers 503')
  }
  const storm = opening([down, down, down, (from) => part(from)])
  assert.equal(await fetched(storm.open), whole.toString())
  const { open, asked } = opening([down])
  await rejects(
    fetched(open),
    'capacity',
    /the server answers 503 \(tried 7 times in \d+ s\)\. Versions that are deployed run on/,
  )
  assert.equal(asked.length, 7)
})

test('openResumable: progress gives new patience, but not for ever', async () => {
  const { open, asked } = opening([(from) => part(from, { bytes: 1_000_000, content: cut(from.offset % 10, 1) })])
  await rejects(
    fetched(open),
    'capacity',
    /(the connection was cut|it takes too long) \(tried \d+ times in \d+ s, and \d+ of 1000000 bytes came\)/,
  )
  assert.ok(asked.length > 15)
})

test('openResumable: what is no trouble of the way is passed on at once', async () => {
  const { open, asked } = opening([
    () => {
      throw new AppError('invalid', 'no such key')
    },
  ])
  await rejects(fetched(open), 'invalid', /no such key/)
  assert.equal(asked.length, 1)
})

test('openResumable: without an ETag a bucket cannot say that it is the same object, a hash of the web can', async () => {
  const cutOnce = (): OpenPart =>
    opening([(from) => part(from, { content: cut(0, 3), etag: null }), (from) => part(from, { etag: null })]).open
  assert.equal(await fetched(cutOnce()), whole.toString())
  const s3: OriginAddress = {
    kind: 's3',
    source: 's3://b/k',
    bucket: 'b',
    key: 'k',
    versionId: null,
    endpoint: 'https://e',
    region: 'r',
    credentials: null,
    isForeign: false,
  }
  const { content } = await openResumable({
    address: s3,
    open: cutOnce(),
    patience,
    clock: fastClock(),
    logger: silentLogger,
  })
  await assert.rejects(buffer(content), /without an ETag what follows may be of another object/)
})

test('openResumable: one that is closed before it is read closes its connection', async () => {
  const first = Readable.from([whole])
  const open: OpenPart = async (from) => part(from, { content: first })
  const { content } = await openResumable({ address, open, patience, clock: fastClock(), logger: silentLogger })
  content.destroy()
  await new Promise((resolve) => first.once('close', resolve))
  assert.equal(first.destroyed, true)
})
