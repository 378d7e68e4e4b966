import type { Arguments, Routes } from '@hearth/sdk'
import { CliError } from '../cli-error.ts'
import { defineCommand } from '../command.ts'

type Body = Arguments<Routes['putFunctionUrl']>['body']

export default defineCommand({
  name: 'function url create',
  summary: 'Give a function a URL of its own, or change it',
  notes: [
    'Anybody who reaches the port can call a URL with --auth none. With --auth key a request needs "Authorization: Bearer KEY" of a key with scope invoke:NAME. With --auth aws_iam it is signed in AWS Signature Version 4 with the access key of one ("hearth key create --sigv4"). The --cors flags answer browsers in place of the function.',
  ],
  args: { name: { about: 'function', completes: 'function' } },
  flags: {
    auth: { type: 'text', value: 'none|key|aws_iam', about: 'who may call it (default: key)' },
    mode: {
      type: 'text',
      value: 'buffered|stream',
      about: 'stream passes replies on as they come (default: buffered)',
    },
    qualifier: { type: 'text', value: 'Q', about: 'version number or alias (default: $LATEST)' },
    'cors-origin': {
      type: 'list',
      value: 'ORIGIN',
      about: 'origin that may call it from a page, or *; may be repeated',
    },
    'cors-method': { type: 'list', value: 'METHOD', about: 'method it may use; may be repeated' },
    'cors-header': { type: 'list', value: 'NAME', about: 'header it may send; may be repeated' },
    'cors-expose': { type: 'list', value: 'NAME', about: 'header of the reply it may read; may be repeated' },
    'cors-max-age': { type: 'integer', value: 'S', about: 'how long a browser may keep the answer', min: 0 },
    'cors-credentials': { type: 'boolean', about: 'cookies and authorization may come along' },
  },
  examples: [
    'hearth function url create shop --auth none',
    'hearth function url create api --mode stream --cors-origin https://example.org --cors-method "*"',
  ],
  async run({ output, client }, { args, flags }) {
    const allowOrigins = [...flags['cors-origin']]
    const cors =
      allowOrigins.length === 0
        ? null
        : {
            allowOrigins,
            allowMethods: [...flags['cors-method']],
            allowHeaders: [...flags['cors-header']],
            exposeHeaders: [...flags['cors-expose']],
            maxAgeSeconds: flags['cors-max-age'] ?? 0,
            allowCredentials: flags['cors-credentials'],
          }
    const others = flags['cors-method'].length + flags['cors-header'].length + flags['cors-expose'].length
    if (cors === null && (others > 0 || flags['cors-max-age'] !== undefined || flags['cors-credentials']))
      throw new CliError('The --cors flags need a --cors-origin.')
    const body: Body = {
      auth: oneOf('--auth', flags.auth ?? 'key', ['none', 'key', 'aws_iam']),
      mode: oneOf('--mode', flags.mode ?? 'buffered', ['buffered', 'stream']),
      qualifier: flags.qualifier ?? null,
      cors,
    }
    const url = await (await client()).putFunctionUrl({ name: args.name, body })
    if (output.isJson) return output.json(url)
    output.line(url.url)
    output.note(`also ${url.pathUrl}  auth ${url.auth}, ${url.mode}`)
  },
})

function oneOf<const T extends string>(flag: string, value: string, allowed: readonly T[]): T {
  const found = allowed.find((each) => each === value)
  if (found === undefined) throw new CliError(`Invalid ${flag} "${value}": must be one of ${allowed.join(', ')}.`)
  return found
}
