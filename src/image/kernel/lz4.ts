/** Blocks of the "legacy" form that Linux uses hold this much at most. */
const blockBytesMax = 8 * 1024 * 1024

/** Unpacks LZ4 in the legacy form that kernels are packed with; stops before a rest too short for a block, where the kernel keeps the size.
 *  Throws RangeError for what is damaged. Source: lz4_Frame_format.md, "Legacy frame"; lz4_Block_format.md */
export function unpackLegacyLz4(packed: Buffer): Buffer {
  const blocks: Buffer[] = []
  for (let at = 4; at + 8 <= packed.length;) {
    const bytes = packed.readUInt32LE(at)
    if (bytes === 0 || at + 4 + bytes > packed.length) break
    blocks.push(unpackBlock(packed.subarray(at + 4, at + 4 + bytes)))
    at += 4 + bytes
  }
  if (blocks.length === 0) throw new RangeError('no block')
  return Buffer.concat(blocks)
}

function unpackBlock(packed: Buffer): Buffer {
  const output = Buffer.allocUnsafe(blockBytesMax)
  let [from, to] = [0, 0]
  const byte = (): number => {
    const value = packed[from++]
    if (value === undefined) throw new RangeError('cut off')
    return value
  }
  const longLength = (start: number): number => {
    let length = start
    if (start !== 15) return length
    for (let more = 255; more === 255;) length += more = byte()
    return length
  }
  for (;;) {
    const token = byte()
    const literals = longLength(token >> 4)
    if (from + literals > packed.length || to + literals > output.length) throw new RangeError('literals too long')
    packed.copy(output, to, from, from + literals)
    from += literals
    to += literals
    if (from === packed.length) return output.subarray(0, to)
    const distance = byte() | (byte() << 8)
    const length = longLength(token & 15) + 4
    if (distance === 0 || distance > to || to + length > output.length) throw new RangeError('match outside')
    // A match may overlap what it makes: then it repeats.
    if (distance >= length) output.copyWithin(to, to - distance, to - distance + length)
    else for (let n = 0; n < length; n++) output[to + n] = output[to + n - distance] ?? 0
    to += length
  }
}
