import { defineCommand } from '../command.ts'
import { formatMs, formatTime, table } from '../output.ts'

export default defineCommand({
  name: 'invocation list',
  summary: 'List the latest invocations of a function',
  args: { function: { about: 'function', completes: 'function' } },
  flags: { limit: { type: 'integer', value: 'N', about: 'at most so many (default: 20)', min: 1 } },
  examples: ['hearth invocation list process-image --limit 5'],
  async run({ output, client }, { args, flags }) {
    const { items } = await (await client()).listInvocations({ name: args.function, limit: flags.limit ?? 20 })
    if (output.isJson) return output.json({ items })
    const rows = items.map(({ id, version, state, outcome, start, durationMs, memoryPeakMib, createdAt }) => [
      id,
      String(version),
      output.paint(outcome === 'succeeded' ? 'green' : 'red', outcome ?? state),
      start ?? '',
      formatMs(durationMs),
      `${memoryPeakMib} MiB`,
      formatTime(createdAt),
    ])
    output.line(table(['INVOCATION', 'VERSION', 'OUTCOME', 'START', 'HANDLER', 'MEMORY', 'ACCEPTED'], rows))
  },
})
