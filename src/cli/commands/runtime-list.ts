import { defineCommand } from '../command.ts'
import { table } from '../output.ts'

export default defineCommand({
  name: 'runtime list',
  summary: 'List the runtimes that functions can use',
  args: {},
  flags: {},
  examples: ['hearth runtime list'],
  async run({ output, client }) {
    const { items, others } = await (await client()).listRuntimes({})
    if (output.isJson) return output.json({ items, others })
    output.line(
      table(
        ['RUNTIME', 'VERSION', 'INTERPRETER'],
        items.map(({ id, version, executable }) => [id, version, executable]),
      ),
    )
    output.line('')
    const here = (isHere: boolean, versions: readonly string[]): string =>
      isHere ? ['yes', ...versions].join(', ').replace(', ', ': ') : 'no'
    output.line(
      table(
        ['RUNTIME', 'FOR', 'NEEDS', 'HERE'],
        others.map(({ id, about, needs, isHere, versions }) => [id, about, needs, here(isHere, versions)]),
      ),
    )
    output.note('"hearth runtime install node22" adds another Node; Python is taken from the machine.')
  },
})
