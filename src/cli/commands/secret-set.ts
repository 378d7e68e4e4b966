import { defineCommand } from '../command.ts'
import { readSecret } from '../read-input.ts'

export default defineCommand({
  name: 'secret set',
  summary: 'Store a secret, sealed at rest',
  notes: [
    'The value is piped in, read from --value-file, or asked for on a terminal without showing it; never an argument, which other users could see. It is UTF-8 text, at most 16 KiB: give bytes as base64.',
  ],
  args: { name: { about: '1 to 64 letters, digits, - or _' } },
  flags: {
    'value-file': {
      type: 'text',
      value: 'FILE',
      about: 'file with the value; one newline at its end does not count',
      completes: 'file',
    },
  },
  examples: ['hearth secret set db-password --value-file ./password', 'pass show db | hearth secret set db-password'],
  async run(context, { args, flags }) {
    const { output, client } = context
    const value = await readSecret(args.name, flags['value-file'], context)
    const secret = await (await client()).setSecret({ name: args.name, body: { value } })
    if (output.isJson) output.json(secret)
    else
      output.line(
        `Stored secret ${secret.name}, revision ${secret.revision}. Hand it to a function with --secret NAME=${secret.name}.`,
      )
  },
})
