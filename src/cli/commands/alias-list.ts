import { defineCommand } from '../command.ts'
import { formatTime, table } from '../output.ts'

export default defineCommand({
  name: 'alias list',
  summary: 'List the aliases of a function',
  args: { function: { about: 'function', completes: 'function' } },
  flags: {},
  examples: ['hearth alias list process-image'],
  async run({ output, client }, { args }) {
    const { items } = await (await client()).listAliases({ name: args.function })
    if (output.isJson) return output.json({ items })
    const rows = items.map(({ name, version, updatedAt }) => [name, String(version), formatTime(updatedAt)])
    output.line(table(['ALIAS', 'VERSION', 'UPDATED'], rows))
  },
})
