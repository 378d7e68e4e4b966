import { refuseImage } from './refusal.ts'
import { closeSync, createReadStream, openSync, readSync } from 'node:fs'
import { pipeline, Transform, type Readable } from 'node:stream'
import { createGunzip, createZstdDecompress } from 'node:zlib'

const chunk = { chunkSize: 256 * 1024 }
const kinds = [
  { magic: Buffer.from([0x1f, 0x8b]), open: () => createGunzip(chunk) },
  { magic: Buffer.from([0x28, 0xb5, 0x2f, 0xfd]), open: () => createZstdDecompress(chunk) },
]

/** The bytes of `file` as they were before gzip or zstd, whichever its first bytes say, or as they are; `see` gets them too, and fails the stream by throwing.
 *  Fails with invalid after `bytesMax`: a small file may hold very many. */
export function openUnpacked(
  file: string,
  { where, bytesMax, see = () => {} }: { where: string; bytesMax: number; see?: (bytes: Uint8Array) => void },
): Readable {
  const head = headOf(file)
  const source = createReadStream(file, { highWaterMark: 256 * 1024 })
  let bytes = 0
  const limited = new Transform({
    transform(piece: Buffer, _encoding, done) {
      bytes += piece.length
      try {
        see(piece)
      } catch (error) {
        return done(error instanceof Error ? error : new Error(String(error)))
      }
      if (bytes <= bytesMax) return done(null, piece)
      const problem = `it unpacks to more than ${bytesMax} bytes, which is the limit`
      done(refuseImage(where, problem, 'Leave out what the program does not need.'))
    },
  })
  const kind = kinds.find(({ magic }) => head.subarray(0, magic.length).equals(magic))
  // Whoever reads `limited` meets what goes wrong.
  const met = (): void => {}
  if (kind === undefined) pipeline(source, limited, met)
  else pipeline(source, kind.open(), limited, met)
  return limited
}

function headOf(file: string): Buffer {
  const head = Buffer.alloc(4)
  const fd = openSync(file, 'r')
  try {
    return head.subarray(0, readSync(fd, head))
  } finally {
    closeSync(fd)
  }
}
