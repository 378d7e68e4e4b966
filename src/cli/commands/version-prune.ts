import { HearthError, type HearthClient } from '@hearth/sdk'
import { defineCommand } from '../command.ts'
import { listAll } from '../paging.ts'

export default defineCommand({
  name: 'version prune',
  summary: 'Delete the old versions of a function',
  notes: [
    "The newest N stay, and whatever $LATEST, an alias or the function's URL means or somebody is calling. Numbers are not given out again.",
  ],
  args: { function: { about: 'function', completes: 'function' } },
  flags: { keep: { type: 'integer', value: 'N', about: 'how many of the newest stay', min: 1, required: true } },
  examples: ['hearth version prune process-image --keep 10'],
  async run({ output, client }, { args, flags }) {
    const api = await client()
    const name = args.function
    const versions = await listAll((page) => api.listVersions({ name, ...page }))
    const deleted: number[] = []
    const kept: { version: number; reason: string }[] = []
    for (const { version } of versions.slice(flags.keep)) {
      const reason = await remove(api, name, version)
      if (reason === null) deleted.push(version)
      else kept.push({ version, reason })
    }
    if (output.isJson) return output.json({ function: name, deleted, kept })
    for (const { reason } of kept) output.note(reason)
    output.line(`Deleted ${deleted.length} of ${versions.length} versions of ${name}.`)
  },
})

/** Why it stays; null when it is gone, by whomever. */
async function remove(api: HearthClient, name: string, number: number): Promise<string | null> {
  try {
    await api.deleteVersion({ name, number })
    return null
  } catch (error) {
    if (!(error instanceof HearthError)) throw error
    if (error.code === 'not_found') return null
    if (error.code !== 'conflict') throw error
    return error.message.replace(/^Cannot delete: /, 'Kept: ')
  }
}
