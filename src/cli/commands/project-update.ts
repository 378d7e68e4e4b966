import { CliError } from '../cli-error.ts'
import { defineCommand } from '../command.ts'
import { declaredQuotas, quotaFlags } from './project-flags.ts'
import { projectFields } from './project-get.ts'

export default defineCommand({
  name: 'project update',
  summary: 'Set the quotas of a project',
  notes: [
    'What is not given stays as it is; what is given holds at once. Below what is there now nothing is ended or deleted: calls beyond it run to their end, functions beyond it stay, and new ones of either wait or are refused.',
  ],
  args: { name: { about: 'project; "default" is the first', completes: 'project' } },
  flags: quotaFlags,
  examples: ['hearth project update team-a --max-concurrency 100', 'hearth project update default --max-functions 500'],
  async run({ output, client }, { args, flags }) {
    const quotas = declaredQuotas(flags)
    if (Object.keys(quotas).length === 0)
      throw new CliError(`Nothing to update of ${args.name}: give --max-functions or --max-concurrency.`)
    const project = await (await client()).updateProject({ name: args.name, body: { quotas } })
    if (output.isJson) output.json(project)
    else output.line(projectFields(project))
  },
})
