import { CliError } from '../cli-error.ts'
import { defineCommand } from '../command.ts'
import { exitCodes } from '../exit-codes.ts'
import { readSecret } from '../read-input.ts'

export default defineCommand({
  name: 'secret rotate',
  summary: 'Give an existing secret a new value; warm Instances that hold the old one are retired',
  args: { name: { about: 'secret' } },
  flags: {
    'value-file': {
      type: 'text',
      value: 'FILE',
      about: 'file with the value; else it is piped in or asked for',
      completes: 'file',
    },
  },
  examples: ['openssl rand -hex 32 | hearth secret rotate db-password'],
  async run(context, { args, flags }) {
    const { output } = context
    const client = await context.client()
    const { items } = await client.listSecrets({})
    if (!items.some(({ name }) => name === args.name))
      throw new CliError(`Secret "${args.name}" not found.`, {
        exitCode: exitCodes.not_found,
        hint: `hearth secret set ${args.name}`,
      })
    const value = await readSecret(args.name, flags['value-file'], context)
    const secret = await client.setSecret({ name: args.name, body: { value } })
    if (output.isJson) output.json(secret)
    else output.line(`Rotated secret ${secret.name} to revision ${secret.revision}.`)
  },
})
