import { defineCommand } from '../command.ts'
import { formatTime, table } from '../output.ts'

export default defineCommand({
  name: 'key list',
  summary: 'List the keys of the project; tokens are never shown again',
  args: {},
  flags: {},
  examples: ['hearth key list'],
  async run({ output, client }) {
    const { items } = await (await client()).listKeys({})
    if (output.isJson) return output.json({ items })
    const rows = items.map(({ id, name, scopes, createdAt, revokedAt }) => [
      id,
      name,
      scopes.join(' '),
      formatTime(createdAt),
      revokedAt === null ? 'active' : `revoked ${formatTime(revokedAt)}`,
    ])
    output.line(table(['ID', 'NAME', 'SCOPES', 'CREATED', 'STATE'], rows))
  },
})
