import { defineCommand } from '../command.ts'

export default defineCommand({
  name: 'function rollback',
  summary: 'Point $LATEST at an earlier version',
  notes: ['Makes no new version, touches no alias, and lets running invocations end where they are.'],
  args: { name: { about: 'function', completes: 'function' } },
  flags: { to: { type: 'integer', value: 'VERSION', about: 'default: the version before the current one', min: 1 } },
  examples: ['hearth function rollback process-image', 'hearth function rollback process-image --to 3'],
  async run({ output, client }, { args, flags }) {
    const body = flags.to === undefined ? {} : { to: flags.to }
    const found = await (await client()).rollbackFunction({ name: args.name, body })
    if (output.isJson) output.json(found)
    else output.line(`${found.name} is at version ${found.version} again.`)
  },
})
