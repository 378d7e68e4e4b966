import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { test } from 'node:test'
import { gzipSync, zstdCompressSync } from 'node:zlib'
import { vmlinuxOf } from './bzimage.ts'
import { unpackLegacyLz4 } from './lz4.ts'

/** Repeats near and far, runs of one byte, and what does not compress. */
const content = Buffer.concat([
  Buffer.alloc(100_000, 'abc'),
  randomBytes(70_000),
  Buffer.alloc(300_000),
  Buffer.from(Array.from({ length: 50_000 }, (_, n) => `line ${n}\n`).join('')),
])

/** A bzImage of boot protocol 2.08 with two sectors of setup. */
function bzImage(payload: Buffer): Buffer {
  const image = Buffer.alloc(3 * 512 + 100)
  image[0x1f1] = 2
  image.write('HdrS', 0x202)
  image.writeUInt32LE(100, 0x248)
  image.writeUInt32LE(payload.length, 0x24c)
  return Buffer.concat([image, payload, Buffer.alloc(64)])
}

const sizeBytes = Buffer.alloc(4)
sizeBytes.writeUInt32LE(content.length)

test('vmlinuxOf: gzip and zstd payloads', () => {
  for (const packed of [gzipSync(content), zstdCompressSync(content)])
    assert.ok(vmlinuxOf(bzImage(packed), 'x').equals(content))
})

test('vmlinuxOf: xz and LZ4 payloads, with the size behind them', (t) => {
  for (const [program, args] of [
    ['xz', ['-c', '--check=crc32']],
    ['lz4', ['-c', '-l', '-9']],
  ] as const) {
    const made = spawnSync(program, args, { input: content, maxBuffer: 2 ** 26 })
    if (made.error !== undefined) {
      t.diagnostic(`${program} is not installed: not tried`)
      continue
    }
    assert.ok(vmlinuxOf(bzImage(Buffer.concat([made.stdout, sizeBytes])), 'x').equals(content), program)
  }
})

test('vmlinuxOf: quotes the file and says what is wrong', () => {
  const refused = (image: Buffer, message: RegExp): void =>
    assert.throws(() => vmlinuxOf(image, '/boot/k'), { code: 'driver_failed', message })
  refused(Buffer.from('no kernel'), /^Cannot unpack the kernel "\/boot\/k": it is no bzImage\.$/)
  refused(bzImage(Buffer.from('LZMA? no')), /its packing is not known \(it begins with 4c5a4d41\)/)
  const damaged = gzipSync(content)
  damaged.fill(0, 500, 600)
  refused(bzImage(damaged), /its payload is damaged/)
})

test('unpackLegacyLz4: a match that overlaps what it makes, and long lengths, by hand', () => {
  // "ab" as literals, then 4 + 15 + 3 bytes from 2 back; then "!" as the last literals.
  const block = Buffer.from([0x2f, 0x61, 0x62, 0x02, 0x00, 0x03, 0x10, 0x21])
  const head = Buffer.from([0x02, 0x21, 0x4c, 0x18, block.length, 0, 0, 0])
  assert.equal(unpackLegacyLz4(Buffer.concat([head, block, Buffer.alloc(4)])).toString(), `${'ab'.repeat(12)}!`)
})

test('unpackLegacyLz4: damaged blocks are RangeErrors, not reads outside', () => {
  for (const bytes of [
    [0x10], // A literal that is not there.
    [0x0f, 0x01, 0x00], // A match from before the start.
    [0xf0, 0xff, 0xff, 0xff], // A length without an end.
    [0x14, 0x61, 0x00, 0x00, 0x00], // Distance 0.
  ]) {
    const head = Buffer.from([0x02, 0x21, 0x4c, 0x18, bytes.length, 0, 0, 0])
    const packed = Buffer.concat([head, Buffer.from(bytes), Buffer.alloc(4)])
    assert.throws(() => unpackLegacyLz4(packed), RangeError, bytes.join())
  }
})

test('unpackLegacyLz4: what the lz4 program packs', (t) => {
  if (spawnSync('lz4', ['--version']).error !== undefined) return t.skip('needs lz4')
  const large = Buffer.concat(Array.from({ length: 30 }, () => content)) // Over 8 MiB: two blocks.
  const packed = execFileSync('lz4', ['-c', '-l'], {
    input: large,
    maxBuffer: 2 ** 26,
    stdio: ['pipe', 'pipe', 'ignore'],
  })
  assert.ok(unpackLegacyLz4(packed).equals(large))
})
