import { CliError } from '../cli-error.ts'
import { defineCommand } from '../command.ts'

export default defineCommand({
  name: 'key create',
  summary: 'Make an API key; its token is shown once',
  notes: [
    'Scopes: admin, functions:read, functions:write, invoke:NAME (invoke:* for all), logs:read, secrets:read, secrets:write, storage:read, storage:write, keys:write, audit:read, metrics:read, nodes:read. None may be wider than your own.',
    'With --sigv4 it prints the access key that signs requests to function URLs of --auth aws_iam, as lines for an environment; --json has the token too.',
  ],
  args: {},
  flags: {
    scope: { type: 'list', value: 'SCOPE', about: 'what it may do, e.g. invoke:process-image' },
    name: { type: 'text', value: 'TEXT', about: 'what it is for (default: its scopes)' },
    sigv4: { type: 'boolean', about: 'print an access key (AWS Signature Version 4) in place of the token' },
    'for-project': { type: 'text', value: 'NAME', about: 'project it belongs to (default: the one in use)' },
  },
  examples: [
    'hearth key create --scope invoke:process-image',
    'hearth key create --name ci --scope functions:write --scope functions:read',
    'hearth key create --scope invoke:shop --sigv4',
  ],
  async run({ output, client }, { flags }) {
    const scopes = flags.scope
      .flatMap((text) => text.split(','))
      .map((text) => text.trim())
      .filter(Boolean)
    if (scopes.length === 0) throw new CliError('A key needs at least one --scope, e.g. --scope invoke:process-image.')
    const { 'for-project': project } = flags
    const name = flags.name ?? scopes.join(' ').slice(0, 100)
    const body = { name, scopes, ...(project !== undefined && { project }), ...(flags.sigv4 && { sigv4: true }) }
    const { key, token, accessKey } = await (await client()).createKey({ body })
    if (output.isJson) return output.json({ key, token, ...(accessKey !== undefined && { accessKey }) })
    if (accessKey === undefined) output.line(token)
    else {
      output.line(`AWS_ACCESS_KEY_ID=${accessKey.accessKeyId}`)
      output.line(`AWS_SECRET_ACCESS_KEY=${accessKey.secretAccessKey}`)
    }
    const what = accessKey === undefined ? 'token' : 'secret'
    output.note(
      `Key ${key.id} of project ${key.project}: ${key.scopes.join(', ')}. The ${what} is shown once: keep it now.`,
    )
  },
})
