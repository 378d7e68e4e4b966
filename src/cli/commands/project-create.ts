import { defineCommand } from '../command.ts'

export default defineCommand({
  name: 'project create',
  summary: 'Make a project: names, keys, secrets and quotas of its own',
  args: { name: { about: '1 to 39 lower-case letters, digits or -' } },
  flags: {},
  examples: ['hearth project create staging'],
  async run({ output, client }, { args }) {
    const project = await (await client()).createProject({ body: { name: args.name } })
    if (output.isJson) output.json(project)
    else output.line(`Created project ${project.name}. Work in it with: hearth project use ${project.name}`)
  },
})
