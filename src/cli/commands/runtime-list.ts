import { defineCommand } from '../command.ts'
import { table } from '../output.ts'

export default defineCommand({
  name: 'runtime list',
  summary: 'List the runtimes that functions can use',
  args: {},
  flags: {},
  examples: ['hearth runtime list'],
  async run({ output, client }) {
    const { items } = await (await client()).listRuntimes({})
    if (output.isJson) return output.json({ items })
    output.line(
      table(
        ['RUNTIME', 'VERSION', 'INTERPRETER'],
        items.map(({ id, version, executable }) => [id, version, executable]),
      ),
    )
    output.note('"hearth runtime install node22" adds another Node; Python is taken from the machine.')
  },
})
