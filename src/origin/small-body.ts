import { Trouble } from './trouble.ts'
import type { Readable } from 'node:stream'

/** What `source` brings, when it is at most `bytesMax`; null when it is more. */
export async function collect(source: Readable, bytesMax: number): Promise<Buffer | null> {
  const chunks: Uint8Array[] = []
  let bytes = 0
  try {
    for await (const chunk of source) {
      const piece: Uint8Array = chunk
      bytes += piece.length
      if (bytes > bytesMax) return null
      chunks.push(piece)
    }
    return Buffer.concat(chunks)
  } finally {
    source.destroy()
  }
}

/** The same from a connection that nobody else watches: throws Trouble after `timeoutMs`. */
export async function collectSoon(
  source: Readable,
  { bytesMax, timeoutMs }: { bytesMax: number; timeoutMs: number },
): Promise<Buffer | null> {
  const late = (): void => void source.destroy(new Trouble(`an answer was not over within ${timeoutMs / 1_000} s`))
  const timer = setTimeout(late, timeoutMs)
  try {
    return await collect(source, bytesMax)
  } finally {
    clearTimeout(timer)
  }
}

/** JSON as an object to look into; null where it is neither. */
export function jsonObject(bytes: Uint8Array | null): Readonly<Record<string, unknown>> | null {
  try {
    const value: unknown = JSON.parse(Buffer.from(bytes ?? []).toString())
    return isObject(value) ? value : null
  } catch {
    return null
  }
}

export function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
