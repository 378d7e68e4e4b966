/** The end of `text`, at most `bytesMax` of UTF-8, from the beginning of a character on. */
export function lastBytes(text: string, bytesMax: number): string {
  // No character has fewer bytes than UTF-16 units.
  const bytes = Buffer.from(text.slice(-bytesMax))
  if (bytes.length <= bytesMax) return text.slice(-bytesMax)
  let start = bytes.length - bytesMax
  while (((bytes[start] ?? 0) & 0xc0) === 0x80) start++
  return bytes.toString('utf8', start)
}
