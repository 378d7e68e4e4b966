import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { encodeFrame, FrameDecoder, FrameType, headerBytes, payloadBytesMax, type Frame } from './frame.ts'
import { WireError } from './wire-error.ts'

interface Vectors {
  valid: {
    name: string
    hex: string
    frames: { type: FrameType; flags: number; stream: number; payloadHex: string }[]
  }[]
  invalid: { name: string; hex: string; error: string }[]
}
const vectorsFile = path.join(import.meta.dirname, '../../test/wire/vectors.json')
const vectors: Vectors = JSON.parse(readFileSync(vectorsFile, 'utf8'))

/** Decodes `bytes` handed over in pieces of the given sizes, the last size repeating. */
function decode(bytes: Buffer, sizes: readonly number[]): Frame[] {
  const frames: Frame[] = []
  const decoder = new FrameDecoder((type, flags, stream, payload) => {
    frames.push({ type, flags, stream, payload: Buffer.from(payload) })
  })
  for (let at = 0, n = 0; at < bytes.length; n++) {
    const size = sizes[Math.min(n, sizes.length - 1)] ?? bytes.length
    decoder.push(bytes.subarray(at, at + size))
    at += size
  }
  return frames
}

const splits = [[Infinity], [1], [2], [3], [5, 7], [11, 1], [12], [13], [65_536], [8, 70_000]]

for (const { name, hex, frames } of vectors.valid) {
  test(`FrameDecoder reads the vector "${name}" in every split`, () => {
    const bytes = Buffer.from(hex, 'hex')
    for (const sizes of splits) {
      const got = decode(bytes, sizes).map(({ payload, ...rest }) => ({ ...rest, payloadHex: payload.toString('hex') }))
      assert.deepEqual(got, frames)
    }
  })

  test(`encodeFrame writes the vector "${name}"`, () => {
    const parts = frames.map((frame) =>
      encodeFrame(frame.type, frame.flags, frame.stream, Buffer.from(frame.payloadHex, 'hex')),
    )
    assert.equal(Buffer.concat(parts).toString('hex'), hex)
  })
}

for (const { name, hex, error } of vectors.invalid)
  test(`FrameDecoder refuses the vector "${name}" by ${error} in every split`, () => {
    for (const sizes of splits)
      assert.throws(
        () => decode(Buffer.from(hex, 'hex'), sizes),
        (thrown: unknown) => thrown instanceof WireError && thrown.kind === error,
      )
  })

test('FrameDecoder hands out a view when the payload lies in one chunk', () => {
  const bytes = encodeFrame(FrameType.data, 1, 1, 'hello')
  new FrameDecoder((_type, _flags, _stream, payload) => {
    assert.equal(payload.buffer, bytes.buffer)
    assert.equal(payload.toString(), 'hello')
  }).push(bytes)
})

test('FrameDecoder.stop drops the rest of the chunk being pushed', () => {
  const seen: number[] = []
  const decoder = new FrameDecoder((_type, _flags, stream) => {
    seen.push(stream)
    decoder.stop()
  })
  decoder.push(Buffer.concat([1, 3, 5].map((stream) => encodeFrame(FrameType.idle, 0, stream))))
  assert.deepEqual(seen, [1])
})

test('FrameDecoder.isBetweenFrames tells a cut frame from a clean end', () => {
  const decoder = new FrameDecoder(() => {})
  const bytes = encodeFrame(FrameType.data, 0, 1, 'hello')
  for (const byte of bytes.subarray(0, -1)) {
    decoder.push(Buffer.of(byte))
    assert.equal(decoder.isBetweenFrames, false)
  }
  decoder.push(bytes.subarray(-1))
  assert.equal(decoder.isBetweenFrames, true)
})

test('encodeFrame refuses more than 65,536 bytes', () => {
  assert.throws(() => encodeFrame(FrameType.data, 0, 1, Buffer.alloc(payloadBytesMax + 1)), {
    message: 'Cannot encode DATA: 65537 bytes, at most 65536 fit.',
  })
})

test('FrameDecoder survives random bytes in random splits: a WireError or nothing', () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 4096 }),
      fc.array(fc.integer({ min: 1, max: 64 }), { minLength: 1 }),
      (bytes, sizes) => {
        try {
          decode(Buffer.from(bytes), sizes)
        } catch (error) {
          assert.ok(error instanceof WireError)
        }
      },
    ),
    { numRuns: 2_000 },
  )
})

test('FrameDecoder reads random good frames back, whatever the split', () => {
  const frame = fc.record<Frame>(
    {
      type: fc.constant<FrameType>(FrameType.data),
      flags: fc.constantFrom(0, 1, 3),
      stream: fc.integer({ min: 1, max: 0xffff_ffff }),
      payload: fc.uint8Array({ maxLength: 3_000 }).map((bytes) => Buffer.from(bytes)),
    },
    { noNullPrototype: true },
  )
  const sizes = fc.array(fc.integer({ min: 1, max: 5_000 }), { minLength: 1 })
  fc.assert(
    fc.property(fc.array(frame, { maxLength: 8 }), sizes, (frames, split) => {
      const bytes = Buffer.concat(frames.map((f) => encodeFrame(f.type, f.flags, f.stream, f.payload)))
      assert.deepEqual(decode(bytes, split), frames)
    }),
    { numRuns: 500 },
  )
})

test('FrameDecoder survives a flipped bit anywhere in a frame', () => {
  const good = encodeFrame(FrameType.data, 1, 1, Buffer.alloc(300, 0x2a))
  fc.assert(
    fc.property(fc.nat(good.length * 8 - 1), fc.integer({ min: 1, max: 400 }), (bit, size) => {
      const bytes = Buffer.concat([good, good])
      bytes[bit >> 3] = (bytes[bit >> 3] ?? 0) ^ (1 << (bit & 7))
      try {
        assert.ok(decode(bytes, [size]).length <= 2 * good.length)
      } catch (error) {
        assert.ok(error instanceof WireError)
      }
    }),
    { numRuns: 2_000 },
  )
})

test('FrameDecoder holds one frame at most: 64 MiB byte by byte and in pieces grow memory by less than 1 MiB', () => {
  let bytesSeen = 0
  const decoder = new FrameDecoder((_type, _flags, _stream, payload) => (bytesSeen += payload.length))
  const frame = encodeFrame(FrameType.data, 0, 1, Buffer.alloc(payloadBytesMax))
  const before = process.memoryUsage().arrayBuffers
  for (let at = 0; at < 4_000; at++) decoder.push(frame.subarray(at, at + 1))
  const held = process.memoryUsage().arrayBuffers - before
  assert.ok(held < 1024 * 1024, `${held} bytes held for half a frame`)
  decoder.push(frame.subarray(4_000))
  for (let round = 0; round < 1_000; round++)
    for (let at = 0; at < frame.length; at += 9_000) decoder.push(frame.subarray(at, at + 9_000))
  assert.equal(bytesSeen, 1_001 * (frame.length - headerBytes))
})
