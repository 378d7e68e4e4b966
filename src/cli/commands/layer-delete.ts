import { defineCommand } from '../command.ts'
import { layerRef, parseNumberRef } from '../number-ref.ts'

export default defineCommand({
  name: 'layer delete',
  summary: 'Delete a version of a layer',
  notes: ['Versions of functions that have it keep it. Its number is not given out again.'],
  args: { layer: { about: 'NAME:NUMBER' } },
  flags: {},
  examples: ['hearth layer delete tools:1'],
  async run({ output, client }, { args }) {
    await (await client()).deleteLayerVersion(parseNumberRef(args.layer, layerRef))
    if (output.isJson) output.json({ deleted: args.layer })
    else output.line(`Deleted layer ${args.layer}.`)
  },
})
