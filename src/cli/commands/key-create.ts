import { CliError } from '../cli-error.ts'
import { defineCommand } from '../command.ts'

export default defineCommand({
  name: 'key create',
  summary: 'Make an API key; its token is shown once',
  notes: [
    'Scopes: admin, functions:read, functions:write, invoke:NAME (invoke:* for all), logs:read, secrets:read, secrets:write, keys:write, audit:read, metrics:read, nodes:read. None may be wider than your own.',
  ],
  args: {},
  flags: {
    scope: { type: 'list', value: 'SCOPE', about: 'what it may do, e.g. invoke:process-image' },
    name: { type: 'text', value: 'TEXT', about: 'what it is for (default: its scopes)' },
    'for-project': { type: 'text', value: 'NAME', about: 'project it belongs to (default: the one in use)' },
  },
  examples: [
    'hearth key create --scope invoke:process-image',
    'hearth key create --name ci --scope functions:write --scope functions:read',
  ],
  async run({ output, client }, { flags }) {
    const scopes = flags.scope
      .flatMap((text) => text.split(','))
      .map((text) => text.trim())
      .filter(Boolean)
    if (scopes.length === 0) throw new CliError('A key needs at least one --scope, e.g. --scope invoke:process-image.')
    const { 'for-project': project } = flags
    const name = flags.name ?? scopes.join(' ').slice(0, 100)
    const made = await (await client()).createKey({ body: { name, scopes, ...(project !== undefined && { project }) } })
    if (output.isJson) return output.json(made)
    output.line(made.token)
    output.note(
      `Key ${made.key.id} of project ${made.key.project}: ${made.key.scopes.join(', ')}. The token is shown once: keep it now.`,
    )
  },
})
