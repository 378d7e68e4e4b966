import { defineCommand } from '../command.ts'

export default defineCommand({
  name: 'secret delete',
  summary: 'Delete a secret that no current function names',
  args: { name: { about: 'secret' } },
  flags: {},
  examples: ['hearth secret delete db-password'],
  async run({ output, client }, { args }) {
    await (await client()).deleteSecret({ name: args.name })
    if (output.isJson) output.json({ deleted: args.name })
    else output.line(`Deleted secret ${args.name}.`)
  },
})
