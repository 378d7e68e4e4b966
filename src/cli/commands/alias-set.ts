import { defineCommand } from '../command.ts'

export default defineCommand({
  name: 'alias set',
  summary: 'Name a version, or point the name at another one',
  args: { function: { about: 'function', completes: 'function' }, alias: { about: 'for example live' } },
  flags: {
    version: { type: 'integer', value: 'N', about: 'version it stands for (default: the current one)', min: 1 },
  },
  examples: ['hearth alias set process-image live --version 3', 'hearth function invoke process-image:live'],
  async run({ output, client }, { args, flags }) {
    const api = await client()
    const version = flags.version ?? (await api.getFunction({ name: args.function })).version
    const alias = await api.setAlias({ name: args.function, alias: args.alias, body: { version } })
    if (output.isJson) output.json(alias)
    else output.line(`${alias.function}:${alias.name} is version ${alias.version}.`)
  },
})
