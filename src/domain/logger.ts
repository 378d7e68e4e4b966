/** JSON lines with an event name (`instance.boot.done`) and fields whose names end in their unit. */
export interface Logger {
  debug(event: string, fields?: LogFields): void
  info(event: string, fields?: LogFields): void
  warn(event: string, fields?: LogFields): void
  error(event: string, fields?: LogFields): void
}

export type LogFields = Readonly<Record<string, unknown>>

/** A logger that drops everything: for tests whose subject is not the log. */
export const silentLogger: Logger = { debug() {}, info() {}, warn() {}, error() {} }
