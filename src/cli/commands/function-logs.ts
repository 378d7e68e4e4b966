import type { LogLine } from '@hearth/sdk'
import { defineCommand } from '../command.ts'
import type { Output } from '../output.ts'

const tailDefault = 50

export default defineCommand({
  name: 'function logs',
  summary: 'Print the log of a function',
  notes: [
    'With --follow it waits for a platform that is away and goes on after the last line; it ends when the function is deleted (exit code 4) or the key revoked (3).',
  ],
  args: { name: { about: 'function', completes: 'function' } },
  flags: {
    tail: { type: 'integer', value: 'N', about: `last lines to print (default: ${tailDefault})` },
    follow: { type: 'boolean', about: 'go on with new lines as they come, until Ctrl-C' },
  },
  examples: ['hearth function logs process-image --tail 50', 'hearth function logs process-image --follow'],
  async run({ output, client, interrupt }, { args, flags }) {
    const api = await client()
    const { items } = await api.getLogs({ name: args.name, tail: flags.tail ?? tailDefault })
    for (const line of items) printLine(output, line)
    if (!flags.follow) return
    const last = items.at(-1)
    const options = { signal: interrupt(), fromOffset: last?.offset ?? 0, onConnection: connectionNotes(output) }
    for await (const line of api.followLogs(args.name, options)) printLine(output, line)
  },
})

/** Tells beside the lines when they stop coming because the platform is away, and when they come again. */
export function connectionNotes(output: Output): (state: 'lost' | 'back') => void {
  return (state) =>
    output.note(
      state === 'lost'
        ? output.paintNote('yellow', 'Lost the connection to the platform: waiting for it ...')
        : output.paintNote('green', 'Connected to the platform again.'),
    )
}

/** One log line: time, invocation, text; errors and the platform's own lines stand apart by colour. */
export function printLine(output: Output, line: LogLine): void {
  if (output.isJson) return output.json(line, { line: true })
  const time = new Date(line.time).toISOString().slice(11, 23)
  const text = line.text.trimEnd()
  const shown =
    line.stream === 'platform'
      ? output.paint('gray', text)
      : line.stream === 'stderr'
        ? output.paint('yellow', text)
        : text
  output.line(`${output.paint('gray', `${time} ${line.invocation ?? '-'}`)} ${shown}`)
}
