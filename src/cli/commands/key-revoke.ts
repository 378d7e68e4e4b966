import { defineCommand } from '../command.ts'

export default defineCommand({
  name: 'key revoke',
  summary: 'Revoke a key at once',
  args: { id: { about: 'as "hearth key list" shows it' } },
  flags: {},
  examples: ['hearth key revoke k3v9x0a1b2c3'],
  async run({ output, client }, { args }) {
    const key = await (await client()).revokeKey({ id: args.id })
    if (output.isJson) output.json(key)
    else output.line(`Revoked key ${key.id} (${key.name}).`)
  },
})
