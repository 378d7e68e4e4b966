import { defineCommand } from '../command.ts'
import { formatTime, table } from '../output.ts'
import { listAll } from '../paging.ts'

export default defineCommand({
  name: 'audit log',
  summary: 'Show what was changed, when, and with which key; newest first',
  args: {},
  flags: { limit: { type: 'integer', value: 'N', about: 'at most so many (default: 50)', min: 1 } },
  examples: ['hearth audit log --limit 10'],
  async run({ output, client }, { flags }) {
    const api = await client()
    const entries = await listAll((page) => api.listAudit(page), flags.limit ?? 50)
    if (output.isJson) return output.json({ items: entries })
    const rows = entries.map(({ time, actor, action, target, detail }) => [
      formatTime(time),
      actor,
      action,
      target,
      Object.entries(detail)
        .map(([name, value]) => `${name}=${JSON.stringify(value)}`)
        .join(' '),
    ])
    output.line(table(['TIME', 'KEY', 'ACTION', 'TARGET', 'DETAIL'], rows))
  },
})
