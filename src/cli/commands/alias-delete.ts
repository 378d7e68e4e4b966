import { defineCommand } from '../command.ts'

export default defineCommand({
  name: 'alias delete',
  summary: 'Delete an alias; the version it named stays',
  args: { function: { about: 'function', completes: 'function' }, alias: { about: 'alias' } },
  flags: {},
  examples: ['hearth alias delete process-image live'],
  async run({ output, client }, { args }) {
    await (await client()).deleteAlias({ name: args.function, alias: args.alias })
    if (output.isJson) output.json({ deleted: `${args.function}:${args.alias}` })
    else output.line(`Deleted alias ${args.function}:${args.alias}.`)
  },
})
