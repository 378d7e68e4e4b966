import { defineCommand } from '../command.ts'
import { formatTime, table } from '../output.ts'

export default defineCommand({
  name: 'project list',
  summary: 'List projects',
  args: {},
  flags: {},
  examples: ['hearth project list'],
  async run({ output, client }) {
    const { items } = await (await client()).listProjects({})
    if (output.isJson) return output.json({ items })
    const rows = items.map(({ name, quotas, createdAt }) => [
      name,
      String(quotas.functionsMax),
      String(quotas.concurrencyMax),
      formatTime(createdAt),
    ])
    output.line(table(['NAME', 'FUNCTIONS MAX', 'CONCURRENCY MAX', 'CREATED'], rows))
  },
})
