import type { CreateFunctionBody, HearthClient } from '@hearth/sdk'
import { CliError } from '../cli-error.ts'
import { defineCommand, type Arguments, type Input } from '../command.ts'
import type { Context } from '../context.ts'
import { inferRuntime, kindBody, kindFlags, type Inferred } from '../infer.ts'
import { imageFlags, imageSource } from '../image-source.ts'
import { codeFlagAbout, codeSource, codeSourceFlags } from '../code-source.ts'
import { buildChoice, declaredConfig, deployFlags, deployQuery, functionFlags } from './function-flags.ts'

/** What `--no-wait` says of a version that is on its way. */
export function acceptedText(name: string, version: number): string {
  return `Accepted ${name} version ${version}; it is being prepared.\n  hearth function get ${name}    shows how far it is`
}

interface Given {
  readonly runtime?: string | undefined
  readonly handler?: string | undefined
  readonly contract?: string | undefined
  readonly command?: string | undefined
  readonly port?: number | undefined
  readonly code: string
}

/** As given; else as the folder says, which is said too. */
async function kindOf({ cwd, output }: Context, given: Given): Promise<Omit<Inferred, 'from'>> {
  const { runtime, handler, contract, command, port, code } = given
  if (runtime !== undefined) {
    const known = handler ?? nativeHandler(runtime)
    if (known !== undefined) return { runtime, handler: known }
    const ofVersion = contract === undefined && command === undefined ? await inferVersion(cwd, given) : null
    if (ofVersion === null) return { runtime }
    output.note(`Inferred ${kindFlags({ ...ofVersion, runtime })} from ${ofVersion.from}.`)
    return { ...ofVersion, runtime }
  }
  const { from, ...inferred } = await inferRuntime(cwd, code, port)
  // Who names a contract, or what to start, means another one than the folder.
  const isOther = (contract ?? inferred.contract) !== inferred.contract
  const kind = {
    runtime: inferred.runtime,
    ...(inferred.contract !== undefined && !isOther && { contract: inferred.contract }),
    ...(inferred.command !== undefined && !isOther && command === undefined && { command: inferred.command }),
    ...((handler ?? inferred.handler) !== undefined && !isOther && { handler: handler ?? inferred.handler ?? '' }),
  }
  output.note(`Inferred ${kindFlags(kind)} from ${from}.`)
  return kind
}

/** What the folder says of itself where it is of the family of the named runtime; null where it says something else, or nothing. */
async function inferVersion(cwd: string, { runtime = '', code, port }: Given): Promise<Inferred | null> {
  try {
    const inferred = await inferRuntime(cwd, code, port)
    return /^(node|python)/.exec(runtime)?.[0] === inferred.runtime ? inferred : null
  } catch (error) {
    if (error instanceof CliError) return null
    throw error
  }
}

/** What Go and Rust sources call their handler unless they say otherwise. */
function nativeHandler(runtime: string): string | undefined {
  return /^go(1\.|$)/.test(runtime) ? 'main.Handler' : /^rust(1\.|$)/.test(runtime) ? 'main::handler' : undefined
}

type Values = Pick<Input<Arguments, typeof functionFlags>['flags'], 'contract' | 'command' | 'port' | 'arch'> &
  Input<Arguments, typeof deployFlags & typeof imageFlags & typeof codeSourceFlags>['flags'] &
  Record<'code' | 'runtime' | 'handler', string | undefined>

type Declared = Pick<CreateFunctionBody, 'code' | 'runtime' | 'handler' | 'contract' | 'command'>

/** What is to run and how, and the client to deploy it with. */
async function declaredCode(context: Context, flags: Values): Promise<{ client: HearthClient } & Declared> {
  const { code, image, arch } = flags
  if (image !== undefined) return declaredImage(context, { ...flags, image })
  if (code === undefined) throw new CliError('Give --code or --image: there is nothing to deploy.')
  const kind = await kindOf(context, { ...flags, code })
  const { runtime, handler } = kind
  const options = { code, build: buildChoice(flags), runtime, handler, arch, project: context.project }
  const source = await codeSource(context, options, flags)
  return { client: await context.client(), code: source, ...kindBody(kind) }
}

async function declaredImage(
  context: Context,
  flags: Values & { readonly image: string },
): Promise<{ client: HearthClient } & Declared> {
  const { contract = 'http', handler } = flags
  if (handler !== undefined && contract === 'http')
    throw new CliError('--handler does not go with --image, unless --contract is runtime-api: HTTP has no handler.')
  const source = await imageSource(context, flags)
  return { ...source, runtime: 'image', contract, ...(handler !== undefined && { handler }) }
}

export default defineCommand({
  name: 'function create',
  summary: 'Deploy a new function',
  notes: [
    'Returns when the function can be invoked. A folder is zipped here: what .hearthignore names (in the form of .gitignore) and .git stay out, node_modules stays in.',
  ],
  args: {},
  flags: {
    name: { type: 'text', value: 'NAME', about: '1 to 64 letters, digits, - or _', required: true },
    runtime: {
      type: 'text',
      value: 'RUNTIME',
      about:
        'node, python, go, rust, provided, http, or one version: node24, python3.12; without it, what the folder leaves no doubt of',
    },
    handler: {
      type: 'text',
      value: 'FILE.FUNCTION',
      about:
        'for example index.handler, main.handler, main.Handler (Go), main::handler (Rust); not needed for provided and http',
    },
    code: { type: 'text', value: 'PATH', about: codeFlagAbout, completes: 'file' },
    ...imageFlags,
    ...codeSourceFlags,
    ...functionFlags,
    ...deployFlags,
  },
  examples: [
    'hearth function create --name webhook --code ./examples/webhook-go',
    'hearth function create --name process-image --runtime python --handler main.handler --code ./examples/process-image --memory 512 --timeout 60',
    'hearth function create --name site --image registry.example.com/team/site:v1 --code-secret registry',
    'hearth function create --name api --runtime node24 --handler index.handler --code ./api.zip --env STAGE=test --secret DB_PASSWORD=db-password',
  ],
  async run(context, { flags }) {
    const { output } = context
    const startedAt = performance.now()
    const { name } = flags
    const { client, ...declared } = await declaredCode(context, flags)
    output.status(`deploying ${name} ...`)
    const made = await client
      .createFunction({ ...deployQuery(flags), body: { name, ...declared, ...declaredConfig(flags) } })
      .finally(() => output.status(''))
    if (output.isJson) return output.json(made)
    if (flags['no-wait']) return output.line(acceptedText(made.name, made.version))
    const ms = Math.round(performance.now() - startedAt)
    output.line(
      `Created ${made.name} version ${made.version} on ${made.runtimeId} (${made.runtimeVersion}) in ${ms} ms.`,
    )
    output.line(`  hearth function invoke ${made.name} --data '{}'`)
  },
})
