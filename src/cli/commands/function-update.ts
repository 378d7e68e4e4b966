import type { HearthClient, UpdateFunctionBody } from '@hearth/sdk'
import { CliError } from '../cli-error.ts'
import { defineCommand } from '../command.ts'
import { imageFlags, imageSource } from '../image-source.ts'
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
    ...imageFlags,
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
    'hearth function update site --image registry.example.com/team/site:v2 --code-secret registry',
    'hearth function update process-image --memory 1024 --timeout 120',
  ],
  async run(context, { args, flags }) {
    const { output } = context
    const startedAt = performance.now()
    const own = await context.client()
    const declared = {
      ...declaredConfig(flags),
      ...(flags['no-layers'] && { layers: [] }),
      ...(flags.runtime !== undefined && { runtime: flags.runtime }),
      ...(flags.handler !== undefined && { handler: flags.handler }),
    }
    const { image } = flags
    if ((flags.code ?? image) === undefined && Object.keys(declared).length === 0)
      throw new CliError(`Nothing to update of ${args.name}: give --code, --image or a setting.`)
    const { client, ...code } = await declaredCode()
    output.status(`deploying ${args.name} ...`)
    const made = await client
      .updateFunction({ name: args.name, ...deployQuery(flags), body: { ...declared, ...code } })
      .finally(() => output.status(''))
    if (output.isJson) return output.json(made)
    if (flags['no-wait']) return output.line(acceptedText(made.name, made.versionCount))
    output.line(`Updated ${made.name} to version ${made.version} in ${Math.round(performance.now() - startedAt)} ms.`)

    async function declaredCode(): Promise<{ client: HearthClient } & UpdateFunctionBody> {
      if (image !== undefined) {
        const { runtime } = await own.getFunction({ name: args.name })
        // One that is an image already stays what it is.
        const isNew = runtime !== 'image' && flags.contract === undefined
        const source = await imageSource(context, { ...flags, image })
        return { ...source, runtime: 'image', ...(isNew && { contract: 'http' }) }
      }
      if (flags.code === undefined) return { client: own }
      const current = flags.runtime === undefined ? await own.getFunction({ name: args.name }) : null
      const runtime = flags.runtime ?? current?.runtime ?? ''
      const handler = flags.handler ?? current?.handler
      const { code, arch } = flags
      const options = { code, build: buildChoice(flags), runtime, handler, arch, project: context.project }
      return { client: own, code: await codeSource(context, options, flags) }
    }
  },
})
