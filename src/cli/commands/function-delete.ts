import { defineCommand } from '../command.ts'

export default defineCommand({
  name: 'function delete',
  summary: 'Delete a function with its versions, aliases and logs',
  args: { name: { about: 'function', completes: 'function' } },
  flags: {},
  examples: ['hearth function delete process-image'],
  async run({ output, client }, { args }) {
    await (await client()).deleteFunction({ name: args.name })
    if (output.isJson) output.json({ deleted: args.name })
    else output.line(`Deleted ${args.name}.`)
  },
})
