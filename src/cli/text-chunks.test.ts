import assert from 'node:assert/strict'
import { test } from 'node:test'
import { TextChunks, type TextChunk } from './text-chunks.ts'

function chunksOf(parts: readonly Uint8Array[]): TextChunk[] {
  const chunks = new TextChunks()
  return [...parts.map((part) => chunks.next(part)), chunks.end()].filter((chunk) => chunk !== null)
}

function bytesOf(chunks: readonly TextChunk[]): Buffer {
  return Buffer.concat(chunks.map(({ chunk, isBase64 }) => Buffer.from(chunk, isBase64 ? 'base64' : 'utf8')))
}

const text = Buffer.from('a\u00e9\u20ac\u{1F600}\ufeffz')

test('TextChunks: text that is cut anywhere is text, whole characters at a time', () => {
  for (let first = 0; first <= text.length; first++)
    for (let second = first; second <= text.length; second++) {
      const chunks = chunksOf([text.subarray(0, first), text.subarray(first, second), text.subarray(second)])
      assert.ok(chunks.every(({ isBase64, chunk }) => isBase64 === undefined && !chunk.includes('\ufffd')))
      assert.deepEqual(bytesOf(chunks), text)
    }
  assert.deepEqual(
    chunksOf([...text].map((byte) => Uint8Array.of(byte))).map(({ chunk }) => chunk),
    Array.from(text.toString()),
  )
})

test('TextChunks: what is no UTF-8 is base64, and what comes after it is text again', () => {
  assert.deepEqual(chunksOf([Buffer.from([0x61, 0xff]), Buffer.from('text')]), [
    { chunk: 'Yf8=', isBase64: true },
    { chunk: 'text' },
  ])
  // A character that is cut by another, one too long, a surrogate, and one that never ends.
  for (const parts of [
    [[0xe2, 0x82], [0x61]],
    [[0xc0], [0x80]],
    [[0xed, 0xa0], [0x80]],
    [[0xf0, 0x9f, 0x98]],
    [[0x80], [0x80, 0x80, 0x80, 0x80]],
  ].map((bytes) => bytes.map((each) => Uint8Array.from(each)))) {
    const chunks = chunksOf(parts)
    assert.ok(chunks.some(({ isBase64 }) => isBase64))
    assert.deepEqual(bytesOf(chunks), Buffer.concat(parts))
  }
})

test('TextChunks: any bytes, cut anywhere, come out as they were', () => {
  let seed = 1
  const random = (below: number): number => (seed = (seed * 48_271) % 2_147_483_647) % below
  for (let round = 0; round < 300; round++) {
    const parts = Array.from({ length: 5 }, () =>
      random(2) === 0
        ? text.subarray(random(text.length), random(text.length) + 1)
        : Uint8Array.from({ length: random(6) }, () => random(256)),
    )
    assert.deepEqual(bytesOf(chunksOf(parts)), Buffer.concat(parts))
  }
})
