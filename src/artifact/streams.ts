import { createHash } from 'node:crypto'
import { Transform } from 'node:stream'
import type { Readable } from 'node:stream'

/** Hashing this much takes 0.13 ms. */
const sliceBytes = 256 * 1024

/** The bytes of `source` in slices that never hold up the event loop, however large the pieces it delivers. Whoever stops early leaves the rest
 *  in `source`: an upload that is refused half way is still to be read out by the connection it came over. With `isOwned`, a slice is gone
 *  once the next is asked for. */
export async function* sliced(source: Readable, isOwned: boolean): AsyncGenerator<Uint8Array> {
  for await (const chunk of source.iterator({ destroyOnReturn: false })) {
    const bytes: Uint8Array = typeof chunk === 'string' ? Buffer.from(chunk) : chunk
    for (let start = 0; start < bytes.length; start += sliceBytes) yield bytes.subarray(start, start + sliceBytes)
    if (isOwned) free(bytes)
  }
}

/** Gives the memory of `bytes` back at once, unless they are only a part of it. */
function free({ buffer, byteLength }: Uint8Array): void {
  if (buffer instanceof ArrayBuffer && buffer.byteLength === byteLength) buffer.transfer(0)
}

/** Passes bytes through; at their end asks `judge` about their SHA-256 (hex) and fails with the error it gives, if any. */
export function hashing(judge: (actual: string) => Error | null): Transform {
  const hash = createHash('sha256')
  return new Transform({
    transform(chunk: Uint8Array, _encoding, done) {
      hash.update(chunk)
      done(null, chunk)
    },
    flush(done) {
      done(judge(hash.digest('hex')))
    },
  })
}
