import { createClient, type HearthClient } from '@hearth/sdk'
import { CliError } from './cli-error.ts'
import { exitCodes } from './exit-codes.ts'
import type { Server } from './server.ts'
import { installationOf, readUserConfig, userConfigFile, withServer, writeUserConfig } from './user-config.ts'

export interface ConnectOptions {
  readonly env: Readonly<Record<string, string | undefined>>
  /** `--project`. */
  readonly project: string | undefined
  readonly fetch?: typeof globalThis.fetch
}

/** A client for `server` in the project in use: `--project`, HEARTH_PROJECT, what `hearth project use` stored, else the key's own. */
export async function connect(server: Server, { env, project, fetch }: ConnectOptions): Promise<HearthClient> {
  const own = createClient({ url: server.url, apiKey: server.apiKey, ...(fetch && { fetch }) })
  const file = userConfigFile(env)
  const stored = (await readUserConfig(file)).servers[installationOf(server)]
  const wanted = project ?? env['HEARTH_PROJECT'] ?? (env['HEARTH_API_KEY'] === undefined ? stored?.project : undefined)
  if (wanted === undefined) return own
  const apiKey =
    stored?.keys[wanted] ?? (await makeProjectKey(own, wanted, { file, installation: installationOf(server) }))
  return createClient({ url: server.url, apiKey, ...(fetch && { fetch }) })
}

/** A key belongs to one project: an admin makes itself one there, once, and keeps it for the next calls. */
export async function makeProjectKey(
  client: HearthClient,
  project: string,
  { file, installation }: { file: string; installation: string },
): Promise<string> {
  const { items } = await client.listProjects({})
  if (!items.some(({ name }) => name === project))
    throw new CliError(`Project "${project}" not found.`, {
      exitCode: exitCodes.not_found,
      hint: `hearth project create ${project}`,
    })
  const { token } = await client.createKey({ body: { name: 'hearth project use', scopes: ['admin'], project } })
  const config = await readUserConfig(file)
  await writeUserConfig(file, withServer(config, installation, { key: { project, token } }))
  return token
}
