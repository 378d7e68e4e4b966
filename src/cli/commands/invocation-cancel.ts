import { CliError } from '../cli-error.ts'
import { defineCommand } from '../command.ts'
import { exitCodes } from '../exit-codes.ts'

export default defineCommand({
  name: 'invocation cancel',
  summary: 'Cancel a queued or running invocation',
  args: { id: { about: 'as "invocation list" shows it' } },
  flags: {},
  examples: ['hearth invocation cancel 019aa5c8-7a3e-7cc1-8f2e-0a1b2c3d4e5f'],
  async run({ output, client }, { args }) {
    const { cancelled } = await (await client()).cancelInvocation({ id: args.id })
    if (!cancelled)
      throw new CliError(`Cannot cancel ${args.id}: it has ended already.`, { exitCode: exitCodes.conflict })
    if (output.isJson) output.json({ cancelled: args.id })
    else output.line(`Cancelled ${args.id}.`)
  },
})
