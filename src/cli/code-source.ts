import type { CreateFunctionBody } from '@hearth/sdk'
import { CliError } from './cli-error.ts'
import type { Flags, Input, Arguments } from './command.ts'
import { deployCode, type CodeOptions } from './deploy-code.ts'
import type { Context } from './context.ts'

/** What `--code` takes, and what goes with addresses that the platform fetches from. */
export const codeFlagAbout = 'folder, .zip file, s3://BUCKET/KEY[?versionId=ID], or https:// address of a zip'

export const codeSourceFlags = {
  'code-sha256': { type: 'text', value: 'HEX', about: 'SHA-256 that the code must have; required for https://' },
  'code-secret': {
    type: 'text',
    value: 'SECRET',
    about: 'secret to fetch with: accessKeyId:secretAccessKey for s3://, user:password for an image in a registry',
  },
  'code-endpoint': { type: 'text', value: 'URL', about: "S3 endpoint that s3:// goes to instead of the platform's" },
  'code-region': { type: 'text', value: 'REGION', about: 'region of that endpoint' },
} as const satisfies Flags

type CodeSourceValues = Input<Arguments, typeof codeSourceFlags>['flags']

/** The code of a deploy as the API takes it: what lies here is brought to the platform first, what lies elsewhere is fetched by it. */
export async function codeSource(
  context: Context,
  options: CodeOptions,
  flags: CodeSourceValues,
): Promise<CreateFunctionBody['code']> {
  const { code } = options
  const { 'code-sha256': sha256, 'code-secret': secret, 'code-endpoint': endpoint, 'code-region': region } = flags
  const kind = code.startsWith('s3://') ? 's3' : /^https?:\/\//.test(code) ? 'https' : 'here'
  if (kind !== 'here' && options.build === true)
    throw new CliError('Cannot build: --build needs --code to be a folder here.')
  if (kind !== 's3' && (secret ?? endpoint ?? region) !== undefined)
    throw new CliError(
      '--code-secret, --code-endpoint and --code-region go with s3://BUCKET/KEY only, --code-secret with --image too.',
    )
  if (kind === 'https') {
    if (sha256 === undefined)
      throw new CliError(`Code from ${code} needs --code-sha256: what a web address serves can change.`)
    return { https: code, sha256 }
  }
  if (kind === 's3')
    return {
      s3: code,
      ...(sha256 !== undefined && { sha256 }),
      ...(secret !== undefined && { secret }),
      ...(endpoint !== undefined && { endpoint }),
      ...(region !== undefined && { region }),
    }
  if (options.runtime === 'image')
    throw new CliError(
      'Runtime image takes --image in place of --code: REPOSITORY[:TAG], FILE.tar of docker save, or the folder of an OCI layout.',
    )
  const artifact = await deployCode(context, options)
  if (sha256 !== undefined && artifact !== `sha256:${sha256.toLowerCase()}`)
    throw new CliError(`${code} has SHA-256 ${artifact.slice(7)}, not ${sha256}.`)
  return { artifact }
}
