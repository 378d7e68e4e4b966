/* The little of the tar format that a stream of known files needs, where its size must be known before it is made and its bytes must never change:
 * headers of ustar. Source: POSIX.1-2024 pax, "ustar Interchange Format". */

const blockBytes = 512

/** What a tar ends with. */
export const tarEnd: Uint8Array = Buffer.alloc(2 * blockBytes)

/** Header of a plain file with nobody's name and no time on it: the same file gives the same bytes. `name` is ASCII of at most 100 characters, `bytes` less than 8 GiB. */
export function tarHeader(name: string, bytes: number): Uint8Array {
  const block = Buffer.alloc(blockBytes)
  block.write(name, 0, 100, 'latin1')
  block.write(`${octal(0o644, 8)}${octal(0, 8)}${octal(0, 8)}${octal(bytes, 12)}${octal(0, 12)}`, 100, 'latin1')
  // The checksum is taken over a field of spaces.
  block.write('        0', 148, 'latin1')
  block.write('ustar\x0000', 257, 'latin1')
  const sum = block.reduce((total, byte) => total + byte, 0)
  block.write(`${octal(sum, 7)} `, 148, 'latin1')
  return block
}

/** What follows a file of `bytes`, to the next block. */
export function tarPadding(bytes: number): Uint8Array {
  return Buffer.alloc(-bytes & (blockBytes - 1))
}

/** What a file of `bytes` takes in a tar. */
export function tarFileBytes(bytes: number): number {
  return blockBytes + Math.ceil(bytes / blockBytes) * blockBytes
}

/** `width` characters, the last of them NUL. */
function octal(value: number, width: number): string {
  return `${value.toString(8).padStart(width - 1, '0')}\0`
}
