import { defineCommand } from '../command.ts'
import { formatTime, table } from '../output.ts'

export default defineCommand({
  name: 'secret list',
  summary: 'List names and revisions of secrets; values are never shown',
  args: {},
  flags: {},
  examples: ['hearth secret list'],
  async run({ output, client }) {
    const { items } = await (await client()).listSecrets({})
    if (output.isJson) return output.json({ items })
    const rows = items.map(({ name, revision, updatedAt }) => [name, String(revision), formatTime(updatedAt)])
    output.line(table(['NAME', 'REVISION', 'UPDATED'], rows))
  },
})
