import { mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import path from 'node:path'

/** What the CLI remembers between calls, by installation: the project in use and a key for each. Only this user can read the file. */
export interface UserConfig {
  readonly servers: Readonly<
    Record<string, { readonly project?: string; readonly keys: Readonly<Record<string, string>> }>
  >
}

const empty: UserConfig = { servers: {} }

/** Names an installation: its URL alone may be another one tomorrow, with other projects and keys. */
export function installationOf({ url, apiKey }: { url: string; apiKey: string }): string {
  const [, keyId = 'key'] = /^hth_([a-z0-9]+)_/.exec(apiKey) ?? []
  return `${url}#${keyId}`
}

export function userConfigFile(env: Readonly<Record<string, string | undefined>>): string {
  const folder = env['XDG_CONFIG_HOME'] ?? path.join(env['HOME'] ?? env['USERPROFILE'] ?? '/', '.config')
  return path.join(folder, 'hearth', 'config.json')
}

export async function readUserConfig(file: string): Promise<UserConfig> {
  try {
    return JSON.parse(await readFile(file, 'utf8')) as UserConfig
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return empty
    throw error
  }
}

/** Replaces the file as a whole: a second command at the same time never reads half of it. */
export async function writeUserConfig(file: string, config: UserConfig): Promise<void> {
  await mkdir(path.dirname(file), { recursive: true, mode: 0o700 })
  const draft = `${file}.${process.pid}`
  await writeFile(draft, `${JSON.stringify(config, null, 2)}\n`, { mode: 0o600 })
  await rename(draft, file)
}

/** The configuration with `change` applied to one installation's part. */
export function withServer(
  config: UserConfig,
  installation: string,
  change: { project?: string; key?: { project: string; token: string } },
): UserConfig {
  const before = config.servers[installation] ?? { keys: {} }
  const keys = change.key === undefined ? before.keys : { ...before.keys, [change.key.project]: change.key.token }
  const project = change.project ?? before.project
  return { servers: { ...config.servers, [installation]: { ...(project !== undefined && { project }), keys } } }
}
