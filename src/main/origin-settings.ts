import { AppError, invalid } from '../domain/error.ts'
import { parseImageReference } from '../domain/image-reference.ts'
import type { OriginsOptions } from '../origin/origins.ts'
import type { Config } from './config.ts'

type Settings = Pick<
  Config,
  's3Endpoint' | 's3Region' | 's3Secret' | 'multiTenant' | 'allowPrivateSources' | 'insecureRegistry' | 'sourceRetryMs'
>

/** A client waits 300 s for the beginning of an answer, and a deploy has work left after its code is there. */
const totalMs = 240_000
/** 2 GiB at 20 Mbit/s; the CLI waits for as long. */
const imageTotalMs = 900_000

/** Throws invalid. */
export function originSettings(config: Settings): Omit<OriginsOptions, 'clock' | 'logger'> {
  const { s3Endpoint, s3Region, s3Secret, multiTenant, allowPrivateSources, sourceRetryMs } = config
  if (s3Endpoint !== '' && !/^https?:$/.test(URL.parse(s3Endpoint)?.protocol ?? ''))
    throw invalid('s3Endpoint', s3Endpoint, 'the address of an S3 server, e.g. https://s3.example.com')
  return {
    s3: {
      endpoint: s3Endpoint === '' ? null : s3Endpoint.replace(/\/$/, ''),
      region: s3Region,
      secret: s3Secret === '' ? null : s3Secret,
      mustHaveSecret: multiTenant,
    },
    allowsPrivate: allowPrivateSources,
    insecureRegistries: config.insecureRegistry.map(checkRegistry),
    imageTotalMs,
    patience: { retryMs: sourceRetryMs, stallMs: Math.max(1_000, Math.min(20_000, sourceRetryMs)), totalMs },
  }
}

/** Throws invalid. */
function checkRegistry(text: string): string {
  try {
    const { registry } = parseImageReference(`${text}/x`, 'insecureRegistry')
    if (registry === text.toLowerCase()) return registry
  } catch (cause) {
    if (!(cause instanceof AppError)) throw cause
  }
  throw invalid('insecureRegistry', text, 'HOST or HOST:PORT, e.g. registry.lan:5000')
}
