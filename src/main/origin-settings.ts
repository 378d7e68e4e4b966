import { invalid } from '../domain/error.ts'
import type { OriginsOptions } from '../origin/origins.ts'
import type { Config } from './config.ts'

type Settings = Pick<
  Config,
  's3Endpoint' | 's3Region' | 's3Secret' | 'multiTenant' | 'allowPrivateSources' | 'sourceRetryMs'
>

/** A client waits 300 s for the beginning of an answer, and a deploy has work left after its code is there. */
const totalMs = 240_000

/** Throws invalid. */
export function originSettings(config: Settings): Pick<OriginsOptions, 's3' | 'allowsPrivate' | 'patience'> {
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
    patience: { retryMs: sourceRetryMs, stallMs: Math.max(1_000, Math.min(20_000, sourceRetryMs)), totalMs },
  }
}
