import { createClient, HearthError, type HearthClient } from '@hearth/sdk'
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
  const renew = async (): Promise<string> => makeProjectKey(own, wanted, { file, installation: installationOf(server) })
  const kept = stored?.keys[wanted]
  if (kept === undefined) return createClient({ url: server.url, apiKey: await renew(), ...(fetch && { fetch }) })
  return createClient({ url: server.url, apiKey: kept, fetch: renewingFetch(fetch ?? globalThis.fetch, renew) })
}

/** A kept key may have been revoked: once it is refused, what `renew` gives takes its place, if the key at hand may make one. */
function renewingFetch(fetch: typeof globalThis.fetch, renew: () => Promise<string>): typeof globalThis.fetch {
  let renewed: Promise<string | null> | undefined
  const send = async (input: Parameters<typeof fetch>[0], init: RequestInit = {}): Promise<Response> => {
    const token = await renewed
    const headers = new Headers(init.headers)
    if (typeof token === 'string') headers.set('authorization', `Bearer ${token}`)
    return fetch(input, { ...init, headers })
  }
  return async (input, init) => {
    const before = renewed
    const first = await send(input, init)
    // A body that is read as it is sent cannot be sent twice; a question about it always comes before.
    if (first.status !== 401 || before !== undefined || init?.body instanceof ReadableStream) return first
    renewed ??= renew().catch((error: unknown) => {
      if (error instanceof HearthError && /^(unauthorized|forbidden)$/.test(error.code)) return null
      throw error
    })
    if ((await renewed) === null) return first
    await first.body?.cancel()
    return send(input, init)
  }
}

/** A key belongs to one project: an admin makes itself one there, once, and keeps it for the next calls. */
async function makeProjectKey(
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
