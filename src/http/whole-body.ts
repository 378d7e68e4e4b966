import type { IncomingMessage } from 'node:http'
import { AppError } from '../domain/error.ts'
import { limits } from '../domain/limits.ts'
import { HttpRefusal } from './errors.ts'

/** A client that sends nothing for this long is cut: nobody may hold what was read of it by sending no more. */
const stallMs = 30_000
/** And the whole of an event, which is small, has this long: else a byte now and then would hold the rest for ever. */
const totalMs = 120_000

/** Reads a body of at most an event's size; null when the client went away. `hold` is told of each chunk and may throw to refuse it.
 *  Throws HttpRefusal 413. */
export async function wholeBody(request: IncomingMessage, hold: (bytes: number) => void): Promise<Buffer | null> {
  const bytesMax = limits.payloadBytesMax
  if (Number(request.headers['content-length'] ?? 0) > bytesMax) throw tooLong()
  if (request.destroyed) return null
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = []
    let bytes = 0
    const stalled = setTimeout(() => request.destroy(), stallMs)
    const late = setTimeout(() => request.destroy(), totalMs)
    const settle = (): void => {
      clearTimeout(stalled)
      clearTimeout(late)
      request.off('data', receive)
    }
    const receive = (chunk: Buffer): void => {
      stalled.refresh()
      bytes += chunk.length
      try {
        if (bytes > bytesMax) throw tooLong()
        hold(chunk.length)
        chunks.push(chunk)
      } catch (error) {
        settle()
        reject(error instanceof Error ? error : new AppError('internal', 'Cannot read a body.', { cause: error }))
      }
    }
    request.on('data', receive)
    request.once('end', () => {
      settle()
      resolve(Buffer.concat(chunks, bytes))
    })
    request.once('close', () => {
      settle()
      resolve(null)
    })
  })
}

function tooLong(): HttpRefusal {
  return new HttpRefusal(413, `The request is larger than ${limits.payloadBytesMax} bytes.`)
}
