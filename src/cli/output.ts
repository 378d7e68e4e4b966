import { styleText } from 'node:util'

/** A stream the CLI writes to. */
export interface Sink {
  write(text: string | Uint8Array, taken?: (error?: Error | null) => void): unknown
  readonly isTTY?: boolean
  readonly columns?: number
}

export type Style = Parameters<typeof styleText>[0]

export type Paint = (style: Style, text: string) => string

/** Everything a command prints goes through here: results to stdout, the rest to stderr. */
export interface Output {
  readonly isJson: boolean
  /** Whether stderr is a terminal that a person looks at: progress, prompts. */
  readonly isInteractive: boolean
  /** Whether results go to a terminal. */
  readonly isTerminal: boolean
  readonly columns: number
  /** The result: raw text or bytes on stdout. */
  readonly result: (text: string | Uint8Array) => void
  /** A piece of the result; resolves when stdout has taken it. */
  readonly resultPart: (bytes: Uint8Array) => Promise<void>
  /** One JSON document (or, for streams, one JSON line) on stdout. */
  readonly json: (value: unknown, options?: { line?: boolean }) => void
  /** A line for people, on stdout: what a listing or a view prints. */
  readonly line: (text?: string) => void
  /** A line beside the result, on stderr. */
  readonly note: (text: string) => void
  /** Text for a terminal's status line; without a terminal it is not shown. Empty clears it. */
  readonly status: (text: string) => void
  /** Colours `text` for stdout, or returns it as it is. */
  readonly paint: Paint
  /** Colours `text` for stderr, or returns it as it is. */
  readonly paintNote: Paint
}

export interface OutputOptions {
  readonly stdout: Sink
  readonly stderr: Sink
  readonly env: Readonly<Record<string, string | undefined>>
  readonly isJson: boolean
}

export function createOutput({ stdout, stderr, env, isJson }: OutputOptions): Output {
  const mayColor = env['NO_COLOR'] === undefined || env['NO_COLOR'] === ''
  const painter =
    (sink: Sink) =>
    (style: Style, text: string): string =>
      mayColor && sink.isTTY === true ? styleText(style, text, { validateStream: false }) : text
  let hasStatus = false
  const clear = (): void => {
    if (hasStatus) stderr.write('\r\x1b[K')
    hasStatus = false
  }
  return {
    isJson,
    isInteractive: stderr.isTTY === true && !isJson,
    isTerminal: stdout.isTTY === true,
    columns: widthOf(stdout),
    result: (text) => {
      clear()
      stdout.write(text)
    },
    resultPart: async (bytes) => {
      clear()
      await new Promise<void>((resolve, reject) =>
        stdout.write(bytes, (error) => (error === null || error === undefined ? resolve() : reject(error))),
      )
    },
    json: (value, options) => {
      clear()
      stdout.write(jsonText(value, options?.line === true ? 0 : 2))
    },
    line: (text = '') => {
      clear()
      stdout.write(`${text}\n`)
    },
    note: (text) => {
      clear()
      stderr.write(`${text}\n`)
    },
    status: (text) => {
      clear()
      if (stderr.isTTY !== true || isJson || text === '') return
      stderr.write(text.slice(0, widthOf(stderr) - 1))
      hasStatus = true
    },
    paint: painter(stdout),
    paintNote: painter(stderr),
  }
}

/** JSON that ends its line. It lets through neither what terminals take for controls nor what some readers of lines take for their end. */
export function jsonText(value: unknown, indent = 0): string {
  return `${JSON.stringify(value, null, indent).replaceAll(/[\u007f-\u009f\u2028\u2029]/g, escaped)}\n`
}

/** A terminal that does not know its width says 0. */
function widthOf(sink: Sink): number {
  return sink.columns === undefined || sink.columns === 0 ? 100 : sink.columns
}

/** Rows under headings, columns as wide as their widest cell. Colours do not count. */
export function table(headings: readonly string[], rows: readonly (readonly string[])[]): string {
  const lines = [headings, ...rows]
  const widths = headings.map((_, column) => Math.max(...lines.map((line) => visibleLength(line[column] ?? ''))))
  return lines
    .map((line) =>
      line.map((cell, column) => cell + ' '.repeat((widths[column] ?? 0) - visibleLength(cell))).join('  '),
    )
    .map((line) => line.trimEnd())
    .join('\n')
}

/** Names and values under each other; empty values are left out. */
export function fieldList(fields: readonly (readonly [string, string | null | undefined])[]): string {
  const present = fields.filter((field): field is [string, string] => field[1] != null && field[1] !== '')
  const width = Math.max(...present.map(([name]) => name.length))
  return present.map(([name, value]) => `${name.padEnd(width)}  ${value}`).join('\n')
}

export function formatBytes(bytes: number): string {
  if (bytes < 1024) return `${bytes} B`
  if (bytes < 1024 ** 2) return `${(bytes / 1024).toFixed(1)} KiB`
  if (bytes < 1024 ** 3) return `${(bytes / 1024 ** 2).toFixed(1)} MiB`
  return `${(bytes / 1024 ** 3).toFixed(1)} GiB`
}

export function formatMs(ms: number): string {
  if (ms < 10) return `${ms.toFixed(2)} ms`
  if (ms < 1_000) return `${ms.toFixed(1)} ms`
  return `${(ms / 1_000).toFixed(2)} s`
}

/** `2026-11-21 05:32:51`, local time. */
export function formatTime(epochMs: number): string {
  const date = new Date(epochMs)
  const two = (value: number): string => String(value).padStart(2, '0')
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`
}

/** Text of others for one line on a terminal: what would steer it, or turn the order of letters, is spelled out. */
export function printable(text: string): string {
  return text.replaceAll(/[\p{Cc}\u2028\u2029\u202a-\u202e\u2066-\u2069]/gu, escaped)
}

function escaped(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`
}

function visibleLength(text: string): number {
  // oxlint-disable-next-line no-control-regex -- colours are control sequences
  return text.replaceAll(/\x1b\[[0-9;]*m/g, '').length
}
