import { defineCommand } from '../command.ts'
import { versionRef, parseNumberRef } from '../number-ref.ts'

export default defineCommand({
  name: 'version delete',
  summary: 'Delete a version of a function',
  notes: [
    "Refused for one that $LATEST, an alias or the function's URL means, or that is being called. Its number is not given out again, and no rollback leads to it any more.",
  ],
  args: { version: { about: 'NAME:NUMBER' } },
  flags: {},
  examples: ['hearth version delete process-image:3'],
  async run({ output, client }, { args }) {
    await (await client()).deleteVersion(parseNumberRef(args.version, versionRef))
    if (output.isJson) output.json({ deleted: args.version })
    else output.line(`Deleted version ${args.version}.`)
  },
})
