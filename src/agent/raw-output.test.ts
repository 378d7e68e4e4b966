import assert from 'node:assert/strict'
import { test } from 'node:test'
import { RawOutput } from './raw-output.ts'

/** A RawOutput and what it did; `answer` settles the drainings in order. */
function bench(): {
  raw: RawOutput
  did: string[]
  answer: (isDrained: boolean) => Promise<void>
  since: { endMs: number }
} {
  const did: string[] = []
  const asked: ((isDrained: boolean) => void)[] = []
  const since = { endMs: 1_000 }
  const raw = new RawOutput({
    drained: () => {
      did.push('drain')
      return new Promise((resolve) => asked.push(resolve))
    },
    hold: () => void did.push('hold'),
    release: () => void did.push('release'),
    flush: () => {},
    sinceEndMs: () => since.endMs,
  })
  const answer = async (isDrained: boolean): Promise<void> => {
    asked.shift()?.(isDrained)
    await new Promise((resolve) => setImmediate(resolve))
  }
  return { raw, did, answer, since }
}

const alone = { isAlone: true, isPrivate: false }

test('RawOutput: who wrote nothing in the first invocation is not asked again', async () => {
  const { raw, did, answer } = bench()
  raw.begin('a', alone)
  raw.end()
  await answer(true)
  for (const id of ['b', 'c']) {
    raw.begin(id, alone)
    raw.end()
  }
  assert.deepEqual(did, ['drain', 'release'])
})

test('RawOutput: what comes before the draining is done is of the one that ended, then of the next', async () => {
  const { raw, did, answer } = bench()
  raw.begin('a', alone)
  assert.equal(raw.ownerNow(), 'a')
  raw.end()
  raw.begin('b', alone)
  assert.equal(raw.ownerNow(), 'a')
  assert.deepEqual(did, ['drain', 'hold'])
  await answer(true)
  assert.deepEqual(did, ['drain', 'hold', 'release'])
  assert.equal(raw.ownerNow(), 'b')
  raw.end()
  await answer(true)
  assert.equal(raw.ownerNow(), null)
})

test("RawOutput: with several at once it is nobody's, until one runs alone again", async () => {
  const { raw, answer } = bench()
  raw.begin('a', alone)
  raw.begin('b', { ...alone, isAlone: false })
  assert.equal(raw.ownerNow(), null)
  raw.end()
  raw.begin('c', alone)
  assert.equal(raw.ownerNow(), null)
  raw.begin('d', { ...alone, isAlone: false })
  await answer(true)
  assert.equal(raw.ownerNow(), null)
  raw.end()
  raw.begin('e', alone)
  await answer(true)
  assert.equal(raw.ownerNow(), 'e')
})

test("RawOutput: a draining without an answer makes the next nobody's, and is tried again after it", async () => {
  const { raw, did, answer } = bench()
  raw.begin('a', alone)
  raw.ownerNow()
  raw.end()
  raw.begin('b', alone)
  await answer(false)
  assert.equal(raw.ownerNow(), null)
  raw.end()
  await answer(true)
  raw.begin('c', alone)
  assert.equal(raw.ownerNow(), 'c')
  assert.deepEqual(did, ['drain', 'hold', 'release', 'drain', 'release'])
})

test("RawOutput: the first output right behind another invocation is nobody's, later it is of what runs; a private one never has another's", async () => {
  const { raw, did, answer, since } = bench()
  raw.begin('a', alone)
  raw.end()
  await answer(true)
  raw.begin('b', alone)
  raw.end()
  raw.begin('c', alone)
  since.endMs = 49
  assert.equal(raw.ownerNow(), null)
  since.endMs = 50
  assert.equal(raw.ownerNow(), 'c')
  const other = bench()
  other.raw.begin('a', alone)
  other.raw.end()
  await other.answer(true)
  other.raw.begin('b', alone)
  other.raw.end()
  other.raw.begin('c', { ...alone, isPrivate: true })
  assert.equal(other.raw.ownerNow(), 'b')
  await other.answer(true)
  assert.equal(other.raw.ownerNow(), 'c')
  assert.deepEqual([did.length, other.did.length], [2, 5])
})

test('RawOutput: what is written while it loads makes no later invocation ask', async () => {
  const { raw, did, answer } = bench()
  assert.equal(raw.ownerNow(), null)
  for (const id of ['a', 'b', 'c']) {
    raw.begin(id, alone)
    raw.end()
    await answer(true)
  }
  assert.deepEqual(did, ['drain', 'release'])
})
