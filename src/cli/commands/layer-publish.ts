import { codeFlagAbout, codeSource, codeSourceFlags } from '../code-source.ts'
import { defineCommand } from '../command.ts'
import { formatBytes } from '../output.ts'

export default defineCommand({
  name: 'layer publish',
  summary: 'Make a new version of a layer: files that functions find below /opt',
  notes: [
    'Node finds packages in nodejs/node_modules of a layer, Python in python. Hand it to functions with --layer NAME:NUMBER.',
  ],
  args: { name: { about: '1 to 64 letters, digits, - or _' } },
  flags: {
    code: { type: 'text', value: 'PATH', about: codeFlagAbout, required: true, completes: 'file' },
    ...codeSourceFlags,
    runtimes: { type: 'text', value: 'LIST', about: 'runtimes it is made for, e.g. node24,python (default: any)' },
    description: { type: 'text', value: 'TEXT', about: 'what it is for' },
  },
  examples: ['hearth layer publish tools --code ./tools --runtimes node'],
  async run(context, { args, flags }) {
    const { output } = context
    const options = { code: flags.code, build: false, runtime: '', project: context.project }
    const code = await codeSource(context, options, flags)
    const runtimes = flags.runtimes?.split(',').map((text) => text.trim())
    const { description } = flags
    const body = {
      code,
      ...(runtimes !== undefined && { runtimes }),
      ...(description !== undefined && { description }),
    }
    const made = await (await context.client()).publishLayer({ name: args.name, body })
    if (output.isJson) return output.json(made)
    output.line(`Published ${made.name}:${made.number} (${formatBytes(made.unpackedBytes)} unpacked).`)
    output.line(`  hearth function update NAME --layer ${made.name}:${made.number}`)
  },
})
