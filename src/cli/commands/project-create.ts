import { defineCommand } from '../command.ts'
import { declaredQuotas, quotaFlags } from './project-flags.ts'

export default defineCommand({
  name: 'project create',
  summary: 'Make a project: names, keys, secrets and quotas of its own',
  args: { name: { about: '1 to 39 lower-case letters, digits or -' } },
  flags: quotaFlags,
  examples: ['hearth project create staging', 'hearth project create team-a --max-functions 50 --max-concurrency 20'],
  async run({ output, client }, { args, flags }) {
    const body = { name: args.name, quotas: declaredQuotas(flags) }
    const project = await (await client()).createProject({ body })
    if (output.isJson) output.json(project)
    else output.line(`Created project ${project.name}. Work in it with: hearth project use ${project.name}`)
  },
})
