import type { SecretSource } from '../domain/agent.ts'
import { AppError } from '../domain/error.ts'
import type { Version } from '../domain/function.ts'

export interface SecretEnv {
  readonly env: Readonly<Record<string, string>>
  readonly stamp: string
}

/** The secrets of `version` by environment name; null when it has none. Rejects with not_found for one that is gone. */
export function revealSecrets(version: Version, source: SecretSource): Promise<SecretEnv> | null {
  const wanted = Object.entries(version.config.secrets)
  if (wanted.length === 0) return null
  return source.reveal(version.project, [...new Set(wanted.map(([, name]) => name))]).then(({ values, stamp }) => {
    const env: Record<string, string> = {}
    for (const [variable, name] of wanted) {
      const value = values.get(name)
      if (value === undefined)
        throw new AppError('not_found', `Secret "${name}" of ${version.functionName} does not exist. Set it again.`)
      env[variable] = value
    }
    return { env, stamp }
  })
}
