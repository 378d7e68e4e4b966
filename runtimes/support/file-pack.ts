/** Unpacks the reply to a compile: repeated `u16 path length, path, u32 size, bytes`. */
export function unpackFiles(pack: Buffer): Map<string, Buffer> {
  const files = new Map<string, Buffer>()
  for (let at = 0; at < pack.length;) {
    const pathEnd = at + 2 + pack.readUInt16BE(at)
    const size = pack.readUInt32BE(pathEnd)
    files.set(pack.toString('utf8', at + 2, pathEnd), pack.subarray(pathEnd + 4, pathEnd + 4 + size))
    at = pathEnd + 4 + size
  }
  return files
}
