import { styleText } from 'node:util'
import type { LogFields, Logger } from '../domain/logger.ts'

const levels = { debug: 10, info: 20, warn: 30, error: 40 } as const
export type LogLevel = keyof typeof levels

export interface LoggerOptions {
  readonly level: LogLevel
  readonly format: 'json' | 'text'
  readonly write: (line: string) => void
  readonly hasColors: boolean
  readonly nowMs?: () => number
}

/** JSON lines `{"time", "level", "event", ...fields}`, or one readable line each on a terminal. */
export function createLogger({ level, format, write, hasColors, nowMs = Date.now }: LoggerOptions): Logger {
  const at = (line: LogLevel) => (event: string, fields?: LogFields) => {
    if (levels[line] < levels[level]) return
    const time = new Date(nowMs()).toISOString()
    if (format === 'json') write(`${JSON.stringify({ time, level: line, event, ...fields }, plainError)}\n`)
    else write(textLine({ time, level: line, event, fields: fields ?? {}, hasColors }))
  }
  return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') }
}

const marks = { debug: ' ', info: '-', warn: '!', error: 'x' } as const
const colors = { debug: 'gray', info: 'gray', warn: 'yellow', error: 'red' } as const

interface TextLine {
  readonly time: string
  readonly level: LogLevel
  readonly event: string
  readonly fields: LogFields
  readonly hasColors: boolean
}

function textLine({ time, level, event, fields, hasColors }: TextLine): string {
  const paint = (style: 'gray' | 'yellow' | 'red', text: string): string =>
    hasColors ? styleText(style, text, { validateStream: false }) : text
  const rest = Object.entries(fields).map(([name, value]) => `${paint('gray', `${name}=`)}${textValue(value)}`)
  return `${[paint('gray', time.slice(11, 23)), paint(colors[level], `${marks[level]} ${event}`), ...rest].join(' ')}\n`
}

function textValue(value: unknown): string {
  if (typeof value === 'string') return /^[^\s"=]+$/.test(value) ? value : JSON.stringify(value)
  return JSON.stringify(value, plainError) ?? 'undefined'
}

/** Errors have no enumerable fields: without this they log as `{}`. */
function plainError(_key: string, value: unknown): unknown {
  if (!(value instanceof Error)) return value
  return {
    name: value.name,
    message: value.message,
    stack: value.stack,
    ...(value.cause !== undefined && { cause: value.cause }),
  }
}
