import { CliError } from './cli-error.ts'

export interface S3Url {
  readonly bucket: string
  /** Empty for the bucket itself. */
  readonly key: string
  readonly versionId: string | undefined
}

/** `s3://bucket[/key][?versionId=..]` in parts; the platform checks each. Throws CliError. */
export function parseS3Url(text: string, { mustHaveKey }: { mustHaveKey: boolean }): S3Url {
  const [, bucket = '', key = '', , versionId] = /^s3:\/\/([^/?]+)\/?([^?]*)(\?versionId=(.+))?$/.exec(text) ?? []
  if (bucket === '' || (mustHaveKey && key === ''))
    throw new CliError(`Invalid address "${text}": must be s3://BUCKET${mustHaveKey ? '/KEY' : '[/PREFIX]'}.`)
  return { bucket, key, versionId }
}
