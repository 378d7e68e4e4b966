import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import { test } from 'node:test'

/* The golden vectors, run by the JavaScript twin. */

interface Wire {
  FrameDecoder: new (receive: (type: number, flags: number, stream: number, payload: Buffer) => void) => {
    push(chunk: Buffer): void
  }
  encodeFrame(type: number, flags: number, stream: number, payload: Buffer): Buffer
}
interface Frame {
  type: number
  flags: number
  stream: number
  payloadHex: string
}
interface Vectors {
  valid: { name: string; hex: string; frames: Frame[] }[]
  invalid: { name: string; hex: string; error: string }[]
}
const wire: Wire = createRequire(import.meta.url)('./wire.cjs')
const vectors: Vectors = JSON.parse(
  readFileSync(path.join(import.meta.dirname, '../../test/wire/vectors.json'), 'utf8'),
)

function decode(bytes: Buffer, size: number): Frame[] {
  const frames: Frame[] = []
  const decoder = new wire.FrameDecoder((type, flags, stream, payload) =>
    frames.push({ type, flags, stream, payloadHex: payload.toString('hex') }),
  )
  for (let at = 0; at < bytes.length; at += size) decoder.push(bytes.subarray(at, at + size))
  return frames
}

test('wire.cjs reads and writes every valid vector, in every split', () => {
  for (const { name, hex, frames } of vectors.valid) {
    const bytes = Buffer.from(hex, 'hex')
    for (const size of [1, 2, 5, 11, 12, 13, 1_000, 65_536, 1_000_000])
      assert.deepEqual(decode(bytes, size), frames, `${name} in pieces of ${size}`)
    const encoded = frames.map((f) => wire.encodeFrame(f.type, f.flags, f.stream, Buffer.from(f.payloadHex, 'hex')))
    assert.equal(Buffer.concat(encoded).toString('hex'), hex, name)
  }
})

test('wire.cjs refuses every invalid vector by its rule', () => {
  for (const { name, hex, error } of vectors.invalid)
    for (const size of [1, 12, 1_000])
      assert.throws(() => decode(Buffer.from(hex, 'hex'), size), { name: 'WireError', kind: error }, name)
})
