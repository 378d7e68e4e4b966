import type { Duplex } from 'node:stream'

export interface JsonLinesOptions {
  /** A longer line ends the channel: the other side keeps to less, or is not what it should be. */
  readonly lineBytesMax: number
  readonly onMessage: (message: Readonly<Record<string, unknown>>) => void
  /** For a line that is no JSON object. */
  readonly onInvalid: (line: string) => void
  /** The channel is of no more use; may come more than once. Null: the other side ended it. */
  readonly onClosed: (why: string | null) => void
}

/** Hands over the JSON objects that come in by `channel`, one a line. Whoever is at its other end may be hostile. */
export function readJsonLines(channel: Duplex, options: JsonLinesOptions): void {
  let partial = ''
  channel.setEncoding('utf8')
  channel.on('data', (text: string) => {
    const lines = (partial + text).split('\n')
    partial = lines.pop() ?? ''
    for (const line of lines) {
      const message = parse(line)
      if (message === null) options.onInvalid(line)
      else options.onMessage(message)
    }
    if (partial.length <= options.lineBytesMax) return
    channel.destroy()
    options.onClosed('a line of it is too long')
  })
  channel.on('error', (error) => options.onClosed(error.message))
  channel.on('end', () => options.onClosed(null))
  channel.on('close', () => options.onClosed(null))
}

function parse(line: string): Readonly<Record<string, unknown>> | null {
  try {
    const value: unknown = JSON.parse(line)
    return isObject(value) ? value : null
  } catch {
    return null
  }
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null
}
