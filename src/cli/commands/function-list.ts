import { defineCommand } from '../command.ts'
import { formatMs, formatTime, table } from '../output.ts'
import { listAll } from '../paging.ts'

export default defineCommand({
  name: 'function list',
  summary: 'List functions',
  args: {},
  flags: { limit: { type: 'integer', value: 'N', about: 'at most so many (default: all)', min: 1 } },
  examples: ['hearth function list', 'hearth function list --json'],
  async run({ output, client }, { flags }) {
    const api = await client()
    const functions = await listAll((page) => api.listFunctions(page), flags.limit)
    if (output.isJson) return output.json({ items: functions })
    if (functions.length === 0) return output.note('No functions yet: "hearth function create --help".')
    const rows = functions.map(({ name, version, runtimeId, memoryMib, timeoutMs, stats, updatedAt }) => [
      name,
      String(version),
      runtimeId,
      `${memoryMib} MB`,
      `${timeoutMs / 1_000} s`,
      String(stats.invocations),
      stats.durationMsP50 === null ? '' : formatMs(stats.durationMsP50),
      formatTime(updatedAt),
    ])
    output.line(table(['NAME', 'VERSION', 'RUNTIME', 'MEMORY', 'TIMEOUT', 'CALLS', 'P50', 'UPDATED'], rows))
  },
})
