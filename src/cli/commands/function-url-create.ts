import type { Arguments, Routes } from '@hearth/sdk'
import { CliError } from '../cli-error.ts'
import { defineCommand } from '../command.ts'
import { nullIfNone } from '../null-if-none.ts'

type Body = Arguments<Routes['putFunctionUrl']>['body']
type Cors = NonNullable<Body['cors']>

interface CorsFlags {
  readonly 'cors-origin': readonly string[]
  readonly 'cors-method': readonly string[]
  readonly 'cors-header': readonly string[]
  readonly 'cors-expose': readonly string[]
  readonly 'cors-max-age': number | undefined
  readonly 'cors-credentials': boolean
  readonly 'no-cors-credentials': boolean
  readonly 'no-cors': boolean
}

export default defineCommand({
  name: 'function url create',
  summary: 'Give a function a URL of its own, or change it',
  notes: [
    'Of a URL that is there, what is not given stays as it is: --qualifier $LATEST, --no-cors and --no-cors-credentials take away what was set. Each --cors list replaces the one before.',
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
    'no-cors-credentials': { type: 'boolean', about: 'they may not' },
    'no-cors': { type: 'boolean', about: 'leave CORS to the function again' },
  },
  examples: [
    'hearth function url create shop --auth none',
    'hearth function url create shop --mode stream',
    'hearth function url create api --mode stream --cors-origin https://example.org --cors-method "*"',
  ],
  async run({ output, client }, { args, flags }) {
    const api = await client()
    // Of none there is nothing to keep.
    const now = await api.getFunctionUrl({ name: args.name }).catch(nullIfNone)
    const body: Body = {
      auth: oneOf('--auth', flags.auth ?? now?.auth ?? 'key', ['none', 'key', 'aws_iam']),
      mode: oneOf('--mode', flags.mode ?? now?.mode ?? 'buffered', ['buffered', 'stream']),
      qualifier: flags.qualifier === '$LATEST' ? null : (flags.qualifier ?? now?.qualifier ?? null),
      cors: corsOf(flags, now?.cors ?? null),
    }
    const url = await api.putFunctionUrl({ name: args.name, body })
    if (output.isJson) return output.json(url)
    output.line(url.url)
    output.note(`also ${url.pathUrl}  auth ${url.auth}, ${url.mode}`)
  },
})

/** What `now` has, with what was given in its place. */
function corsOf(flags: CorsFlags, now: Cors | null): Cors | null {
  const given = {
    ...(flags['cors-origin'].length > 0 && { allowOrigins: [...flags['cors-origin']] }),
    ...(flags['cors-method'].length > 0 && { allowMethods: [...flags['cors-method']] }),
    ...(flags['cors-header'].length > 0 && { allowHeaders: [...flags['cors-header']] }),
    ...(flags['cors-expose'].length > 0 && { exposeHeaders: [...flags['cors-expose']] }),
    ...(flags['cors-max-age'] !== undefined && { maxAgeSeconds: flags['cors-max-age'] }),
    ...((flags['cors-credentials'] || flags['no-cors-credentials']) && { allowCredentials: flags['cors-credentials'] }),
  }
  const isGiven = Object.keys(given).length > 0
  if (flags['cors-credentials'] && flags['no-cors-credentials'])
    throw new CliError('Give either --cors-credentials or --no-cors-credentials.')
  if (flags['no-cors'] && isGiven) throw new CliError('--no-cors goes with no other --cors flag.')
  if (flags['no-cors'] || (now === null && !isGiven)) return null
  if (now === null && flags['cors-origin'].length === 0) throw new CliError('The --cors flags need a --cors-origin.')
  return { ...now, ...given }
}

function oneOf<const T extends string>(flag: string, value: string, allowed: readonly T[]): T {
  const found = allowed.find((each) => each === value)
  if (found === undefined) throw new CliError(`Invalid ${flag} "${value}": must be one of ${allowed.join(', ')}.`)
  return found
}
