import type { Receipt } from '@hearth/sdk'
import { defineCommand } from '../command.ts'
import { formatMs, formatTime, table, type Output } from '../output.ts'

export default defineCommand({
  name: 'invocation list',
  summary: 'List what waits and runs, and the latest invocations that ended',
  args: { function: { about: 'function; all of the project if left out', optional: true, completes: 'function' } },
  flags: { limit: { type: 'integer', value: 'N', about: 'at most so many (default: 20)', min: 1 } },
  examples: ['hearth invocation list', 'hearth invocation list process-image --limit 5'],
  async run({ output, client }, { args, flags }) {
    const api = await client()
    const { limit = 20 } = flags
    const name = args.function
    const { items } = await (name === undefined
      ? api.listAllInvocations({ limit })
      : api.listInvocations({ name, limit }))
    if (output.isJson) return output.json({ items })
    const headings = ['INVOCATION', 'VERSION', 'OUTCOME', 'START', 'HANDLER', 'MEMORY', 'ACCEPTED']
    if (name === undefined) headings[1] = 'FUNCTION'
    output.line(
      table(
        headings,
        items.map((receipt) => row(receipt, output, name === undefined)),
      ),
    )
  },
})

function row(receipt: Receipt, { paint }: Output, isOfAll: boolean): string[] {
  const { id, version, state, outcome, start, durationMs, memoryPeakMib, createdAt } = receipt
  const isDone = outcome !== null
  return [
    id,
    isOfAll ? `${receipt.function}:${version}` : String(version),
    isDone ? paint(outcome === 'succeeded' ? 'green' : 'red', outcome) : paint('yellow', state),
    start ?? '',
    isDone ? formatMs(durationMs) : '',
    isDone ? `${memoryPeakMib} MiB` : '',
    formatTime(createdAt),
  ]
}
