import { defineCommand } from '../command.ts'

export default defineCommand({
  name: 'function url delete',
  summary: 'Take the URL of a function away',
  args: { name: { about: 'function', completes: 'function' } },
  flags: {},
  examples: ['hearth function url delete shop'],
  async run({ output, client }, { args }) {
    await (await client()).deleteFunctionUrl({ name: args.name })
    if (output.isJson) return output.json({ deleted: args.name })
    output.line(`${args.name} has no URL any more.`)
  },
})
