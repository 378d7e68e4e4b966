import { connect } from '../connect.ts'
import { defineCommand } from '../command.ts'
import { installationOf, readUserConfig, userConfigFile, withServer, writeUserConfig } from '../user-config.ts'

export default defineCommand({
  name: 'project use',
  summary: 'Work in a project from now on, on this server',
  notes: [
    'Makes an admin key for the project, once, and keeps it in your user configuration (0600). HEARTH_API_KEY, where set, decides over it.',
  ],
  args: { name: { about: 'project; "default" is the first', completes: 'project' } },
  flags: {},
  examples: ['hearth project use staging', 'hearth project use default'],
  async run(context, { args }) {
    const { output, env } = context
    const server = await context.server()
    const file = userConfigFile(env)
    // Connecting in the project finds or makes the key for it; a call tells whether it still holds.
    const client = await connect(server, { env, project: args.name })
    await client.listFunctions({ limit: 1 })
    await writeUserConfig(file, withServer(await readUserConfig(file), installationOf(server), { project: args.name }))
    if (output.isJson) output.json({ project: args.name, server: server.url, config: file })
    else output.line(`Using project ${args.name} on ${server.url}.`)
    if (env['HEARTH_API_KEY'] !== undefined)
      output.note('HEARTH_API_KEY is set and decides over this choice: unset it, or pass --project.')
  },
})
