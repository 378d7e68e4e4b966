import { defineCommand } from '../command.ts'
import { table } from '../output.ts'

export default defineCommand({
  name: 'function url list',
  summary: 'List the URLs of functions',
  args: {},
  flags: {},
  examples: ['hearth function url list'],
  async run({ output, client }) {
    const { items } = await (await client()).listFunctionUrls({})
    if (output.isJson) return output.json({ items })
    output.line(
      table(
        ['FUNCTION', 'AUTH', 'MODE', 'URL'],
        items.map((item) => [item.function, item.auth, item.mode, item.url]),
      ),
    )
  },
})
