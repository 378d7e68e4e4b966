import { isUtf8 } from 'node:buffer'

/** A part of a result as JSON can carry it. */
export interface TextChunk {
  readonly chunk: string
  /** The bytes are no UTF-8. */
  readonly isBase64?: true
}

/** Makes text of bytes that come in parts cut anywhere: a character that is cut waits for its rest, in the next part. What is no UTF-8 comes as
 *  base64, with the part that it is in. Together the chunks are the bytes that came, in order. */
export class TextChunks {
  /** The beginning of a character: at most 3 bytes. */
  #held: Uint8Array = new Uint8Array(0)

  /** Null: nothing of it can be told yet. */
  next(part: Uint8Array): TextChunk | null {
    const bytes = this.#held.length === 0 ? part : Buffer.concat([this.#held, part])
    const whole = bytes.length - cutBytes(bytes)
    if (!isUtf8(bytes.subarray(0, whole))) {
      this.#held = new Uint8Array(0)
      return base64(bytes)
    }
    this.#held = Uint8Array.from(bytes.subarray(whole))
    return whole === 0 ? null : { chunk: Buffer.from(bytes.subarray(0, whole)).toString() }
  }

  /** What was cut and never came whole. */
  end(): TextChunk | null {
    return this.#held.length === 0 ? null : base64(this.#held)
  }
}

function base64(bytes: Uint8Array): TextChunk {
  return { chunk: Buffer.from(bytes).toString('base64'), isBase64: true }
}

/** How many bytes at the end begin a character that they do not end. */
function cutBytes(bytes: Uint8Array): number {
  for (let back = 1; back <= Math.min(3, bytes.length); back++) {
    const byte = bytes[bytes.length - back] ?? 0
    if (isContinuation(byte)) continue
    return charBytes(byte) > back ? back : 0
  }
  return 0
}

function isContinuation(byte: number): boolean {
  return byte >= 0x80 && byte < 0xc0
}

/** Length of the character that `first` begins; 1 for what begins none. */
function charBytes(first: number): number {
  if (first >= 0xf0 && first < 0xf5) return 4
  if (first >= 0xe0 && first < 0xf0) return 3
  return first >= 0xc2 && first < 0xe0 ? 2 : 1
}
