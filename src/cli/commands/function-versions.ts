import { defineCommand } from '../command.ts'
import { formatBytes, formatTime, table } from '../output.ts'
import { listAll } from '../paging.ts'

const stateStyles = { active: 'green', pending: 'yellow', failed: 'red' } as const

export default defineCommand({
  name: 'function versions',
  summary: 'List the versions of a function, newest first',
  args: { name: { about: 'function', completes: 'function' } },
  flags: { limit: { type: 'integer', value: 'N', about: 'at most so many (default: all)', min: 1 } },
  examples: ['hearth function versions process-image'],
  async run({ output, client }, { args, flags }) {
    const api = await client()
    const { name } = args
    const [versions, { version: latest }] = await Promise.all([
      listAll((page) => api.listVersions({ name, ...page }), flags.limit),
      api.getFunction({ name }),
    ])
    if (output.isJson) return output.json({ items: versions, latest })
    const rows = versions.map((each) => [
      String(each.version),
      each.version === latest ? '$LATEST' : '',
      output.paint(stateStyles[each.state], each.state),
      `${each.runtimeId} (${each.runtimeVersion})`,
      `${each.memoryMib} MB`,
      each.codeDigest.slice(7, 19),
      formatBytes(each.codeBytes),
      each.codeSource?.source ?? 'uploaded',
      formatTime(each.createdAt),
    ])
    output.line(table(['VERSION', '', 'STATE', 'RUNTIME', 'MEMORY', 'CODE', 'SIZE', 'FROM', 'CREATED'], rows))
    for (const { version, stateReason } of versions)
      if (stateReason !== null) output.note(`Version ${version} failed: ${stateReason}`)
  },
})
