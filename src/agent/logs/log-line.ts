import type { LogLine } from '../../domain/agent.ts'

/** Descriptor or origin of a line, as one letter on disk. */
export type StreamCode = 'o' | 'e' | 'p'

/** Longer lines are cut into pieces of this size. */
export const lineBytesMax = 256 * 1024

const streams: Readonly<Record<string, LogLine['stream']>> = { o: 'stdout', e: 'stderr', p: 'platform' }

/** One line as it lies on disk: `time \t o|e|p \t invocation or - \t instance \t text \n`. `text` holds no newline; every other
 *  control character stays as it was written, so what prints a line to a terminal must make it harmless. */
export function recordText(
  time: number,
  code: StreamCode,
  line: { invocation: string | null; instance: string; text: string },
): string {
  return `${time}\t${code}\t${line.invocation ?? '-'}\t${line.instance}\t${line.text}\n`
}

/** The line of `record` (without its newline), or null for what a crash left half written. */
export function parseRecord(record: string, offset: number): LogLine | null {
  const first = record.indexOf('\t')
  const second = record.indexOf('\t', first + 1)
  const third = record.indexOf('\t', second + 1)
  const fourth = record.indexOf('\t', third + 1)
  const stream = streams[record.slice(first + 1, second)]
  const time = Number(record.slice(0, first))
  if (first < 1 || fourth < 0 || stream === undefined || !Number.isSafeInteger(time)) return null
  const invocation = record.slice(second + 1, third)
  return {
    time,
    stream,
    invocation: invocation === '-' ? null : invocation,
    instance: record.slice(third + 1, fourth),
    text: record.slice(fourth + 1),
    offset,
  }
}

/** The lines of `bytes`, which begin at logical `offset` and end with a newline. */
export function parseLines(bytes: Buffer, offset: number): LogLine[] {
  const lines: LogLine[] = []
  let at = 0
  for (let end = bytes.indexOf(10, at); end >= 0; end = bytes.indexOf(10, at)) {
    const line = parseRecord(bytes.toString('utf8', at, end), offset + end + 1)
    if (line !== null) lines.push(line)
    at = end + 1
  }
  return lines
}
