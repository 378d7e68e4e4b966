import { defineCommand } from '../command.ts'
import { layerRef, parseNumberRef } from '../number-ref.ts'
import { fieldList, formatBytes, formatTime } from '../output.ts'

export default defineCommand({
  name: 'layer get',
  summary: 'Show one version of a layer',
  args: { layer: { about: 'NAME:NUMBER' } },
  flags: {},
  examples: ['hearth layer get tools:1'],
  async run({ output, client }, { args }) {
    const found = await (await client()).getLayerVersion(parseNumberRef(args.layer, layerRef))
    if (output.isJson) return output.json(found)
    output.line(
      fieldList([
        ['layer', `${found.name}:${found.number}`],
        ['description', found.description],
        ['runtimes', found.runtimes.join(', ') || 'any'],
        ['code', `${found.digest} (${formatBytes(found.bytes)}, ${formatBytes(found.unpackedBytes)} unpacked)`],
        ['from', found.origin?.source],
        ['created', formatTime(found.createdAt)],
      ]),
    )
  },
})
