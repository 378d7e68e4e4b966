import { defineCommand } from '../command.ts'
import { formatBytes, formatTime, table } from '../output.ts'
import { listAll } from '../paging.ts'

export default defineCommand({
  name: 'layer list',
  summary: 'List layers, or the versions of one',
  args: { name: { about: 'layer; all if left out, each with its newest version', optional: true } },
  flags: {},
  examples: ['hearth layer list', 'hearth layer list tools'],
  async run({ output, client }, { args }) {
    const api = await client()
    const items =
      args.name === undefined
        ? await listAll((page) => api.listLayers(page))
        : (await api.listLayerVersions({ name: args.name })).items
    if (output.isJson) return output.json({ items })
    const rows = items.map((each) => [
      `${each.name}:${each.number}`,
      each.runtimes.join(',') || 'any',
      formatBytes(each.unpackedBytes),
      formatTime(each.createdAt),
      each.description,
    ])
    output.line(table(['LAYER', 'RUNTIMES', 'UNPACKED', 'CREATED', 'DESCRIPTION'], rows))
  },
})
