import { defineCommand } from '../command.ts'
import { fieldList } from '../output.ts'

export default defineCommand({
  name: 'function url get',
  summary: 'Show the URL of a function',
  args: { name: { about: 'function', completes: 'function' } },
  flags: {},
  examples: ['hearth function url get shop'],
  async run({ output, client }, { args }) {
    const url = await (await client()).getFunctionUrl({ name: args.name })
    if (output.isJson) return output.json(url)
    output.line(
      fieldList([
        ['url', url.url],
        ['by path', url.pathUrl],
        ['auth', url.auth],
        ['mode', url.mode],
        ['qualifier', url.qualifier ?? '$LATEST'],
        ['cors', url.cors === null ? 'left to the function' : url.cors.allowOrigins.join(', ')],
      ]),
    )
  },
})
