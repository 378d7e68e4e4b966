import { defineCommand } from '../command.ts'
import { codeFlagAbout, codeSource, codeSourceFlags } from '../code-source.ts'
import { declaredConfig, deployFlags, deployQuery, functionFlags } from './function-flags.ts'

/** What `--no-wait` says of a version that is on its way. */
export function acceptedText(name: string, version: number): string {
  return `Accepted ${name} version ${version}; it is being prepared.\n  hearth function get ${name}    shows how far it is`
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
      about: 'node, python, provided, http, or one version: node24, python3.12',
      required: true,
    },
    handler: {
      type: 'text',
      value: 'FILE.FUNCTION',
      about: 'for example index.handler or main.handler; not needed for provided and http',
    },
    code: { type: 'text', value: 'PATH', about: codeFlagAbout, required: true, completes: 'file' },
    ...codeSourceFlags,
    ...functionFlags,
    ...deployFlags,
  },
  examples: [
    'hearth function create --name process-image --runtime python --handler main.handler --code ./examples/process-image --memory 512 --timeout 60',
    'hearth function create --name api --runtime node24 --handler index.handler --code ./api.zip --env STAGE=test --secret DB_PASSWORD=db-password',
  ],
  async run(context, { flags }) {
    const { output } = context
    const startedAt = performance.now()
    const { name, runtime, handler } = flags
    const options = { code: flags.code, isBuilt: flags.build, runtime, handler, project: context.project }
    const code = await codeSource(context, options, flags)
    output.status(`deploying ${flags.name} ...`)
    const client = await context.client()
    const made = await client
      .createFunction({
        ...deployQuery(flags),
        body: {
          name,
          runtime,
          ...(handler !== undefined && { handler }),
          code,
          ...declaredConfig(flags),
        },
      })
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
