import type { ProjectStatus } from '@hearth/sdk'
import { defineCommand } from '../command.ts'
import { fieldList, formatTime } from '../output.ts'

export default defineCommand({
  name: 'project get',
  summary: 'Show the quotas of a project and how much of each is used',
  args: { name: { about: 'project; "default" is the first', completes: 'project' } },
  flags: {},
  examples: ['hearth project get default'],
  async run({ output, client }, { args }) {
    const project = await (await client()).getProject({ name: args.name })
    if (output.isJson) output.json(project)
    else output.line(projectFields(project))
  },
})

export function projectFields({ name, createdAt, quotas, usage }: ProjectStatus): string {
  return fieldList([
    ['name', name],
    ['functions', `${usage.functions} of at most ${quotas.functionsMax}`],
    ['concurrency', `${usage.running} of at most ${quotas.concurrencyMax} running, ${usage.queued} queued`],
    ['created', formatTime(createdAt)],
  ])
}
