import { CliError } from '../cli-error.ts'
import { defineCommand } from '../command.ts'
import { codeFlagAbout, codeSource, codeSourceFlags } from '../code-source.ts'
import { acceptedText } from './function-create.ts'
import { buildChoice, declaredConfig, deployFlags, deployQuery, functionFlags } from './function-flags.ts'

export default defineCommand({
  name: 'function update',
  summary: 'Make a new version of a function, with other code or configuration',
  notes: [
    'What is not given stays as it is; --env and --secret replace all of their kind. Running invocations end on the version they started on.',
  ],
  args: { name: { about: 'function', completes: 'function' } },
  flags: {
    code: { type: 'text', value: 'PATH', about: codeFlagAbout, completes: 'file' },
    ...codeSourceFlags,
    runtime: { type: 'text', value: 'RUNTIME', about: 'node, python, or one version: node24, python3.12' },
    handler: { type: 'text', value: 'FILE.FUNCTION', about: 'for example index.handler' },
    ...functionFlags,
    'no-layers': { type: 'boolean', about: 'no layers any more' },
    ...deployFlags,
  },
  examples: [
    'hearth function update process-image --code ./v2.zip',
    'hearth function update process-image --code s3://functions/process-image.zip',
    'hearth function update process-image --memory 1024 --timeout 120',
  ],
  async run(context, { args, flags }) {
    const { output } = context
    const startedAt = performance.now()
    const client = await context.client()
    const declared = {
      ...declaredConfig(flags),
      ...(flags['no-layers'] && { layers: [] }),
      ...(flags.runtime !== undefined && { runtime: flags.runtime }),
      ...(flags.handler !== undefined && { handler: flags.handler }),
    }
    if (flags.code === undefined && Object.keys(declared).length === 0)
      throw new CliError(`Nothing to update of ${args.name}: give --code or a setting.`)
    const code = flags.code === undefined ? undefined : await uploadCode()
    output.status(`deploying ${args.name} ...`)
    const made = await client
      .updateFunction({
        name: args.name,
        ...deployQuery(flags),
        body: { ...declared, ...(code !== undefined && { code }) },
      })
      .finally(() => output.status(''))
    if (output.isJson) return output.json(made)
    if (flags['no-wait']) return output.line(acceptedText(made.name, made.versionCount))
    output.line(`Updated ${made.name} to version ${made.version} in ${Math.round(performance.now() - startedAt)} ms.`)

    async function uploadCode(): ReturnType<typeof codeSource> {
      const current = flags.runtime === undefined ? await client.getFunction({ name: args.name }) : null
      const runtime = flags.runtime ?? current?.runtime ?? ''
      const handler = flags.handler ?? current?.handler
      const options = {
        code: flags.code ?? '',
        build: buildChoice(flags),
        runtime,
        handler,
        arch: flags.arch,
        project: context.project,
      }
      return codeSource(context, options, flags)
    }
  },
})
