import { invalid } from './error.ts'
import { defaultProject } from './project.ts'

/** `aws_iam`: requests signed in AWS Signature Version 4 by the access key of an API key. */
export const urlAuths = ['none', 'key', 'aws_iam'] as const
export type UrlAuth = (typeof urlAuths)[number]

export const urlModes = ['buffered', 'stream'] as const
export type UrlMode = (typeof urlModes)[number]

/** Answers of the platform to browsers of other origins, in place of what the function says. */
export interface CorsConfig {
  /** `*`, or origins as browsers send them: scheme, host and port. */
  readonly allowOrigins: readonly string[]
  readonly allowMethods: readonly string[]
  readonly allowHeaders: readonly string[]
  readonly exposeHeaders: readonly string[]
  readonly maxAgeSeconds: number
  readonly allowCredentials: boolean
}

/** Where a Function answers HTTP requests of anybody, or of holders of a key. */
export interface FunctionUrl {
  readonly project: string
  readonly functionName: string
  /** Version number or alias; null = `$LATEST`. */
  readonly qualifier: string | null
  readonly auth: UrlAuth
  /** `stream`: replies are passed on as they come. */
  readonly mode: UrlMode
  readonly cors: CorsConfig | null
  readonly createdAt: number
  readonly updatedAt: number
}

const listMax = 100
const originPattern = /^(\*|https?:\/\/[A-Za-z0-9._[\]:-]{1,253})$/
const tokenPattern = /^(\*|[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128})$/
const maxAgeSecondsMax = 86_400

/** Throws invalid, naming the field. */
export function checkCors(cors: CorsConfig): CorsConfig {
  checkList('cors.allowOrigins', cors.allowOrigins, originPattern, '"*" or origins like https://example.org')
  for (const field of ['allowMethods', 'allowHeaders', 'exposeHeaders'] as const)
    checkList(`cors.${field}`, cors[field], tokenPattern, '"*" or names as HTTP has them')
  const { maxAgeSeconds } = cors
  if (!Number.isInteger(maxAgeSeconds) || maxAgeSeconds < 0 || maxAgeSeconds > maxAgeSecondsMax)
    throw invalid('cors.maxAgeSeconds', maxAgeSeconds, `a whole number from 0 to ${maxAgeSecondsMax}`)
  if (cors.allowCredentials && cors.allowOrigins.includes('*'))
    throw invalid(
      'cors.allowCredentials',
      true,
      'false with allowOrigins "*": name the origins that may send credentials',
    )
  return cors
}

function checkList(field: string, values: readonly string[], pattern: RegExp, allowed: string): void {
  if (values.length > listMax) throw invalid(field, values.length, `at most ${listMax} entries`)
  for (const value of values) if (!pattern.test(value)) throw invalid(field, value, allowed)
}

/** What a host or a path says of a URL. */
export interface UrlName {
  /** As `urlLabel` gives it; of a host in lower case. */
  readonly label: string
  /** Hosts have no upper case; a path has, and means exactly what it says. */
  readonly isHost: boolean
}

/** Name of the URL in a path, and in lower case of its host in front of the domain: `NAME`, in projects but the default one `NAME--PROJECT`. */
export function urlLabel({ project, functionName }: Pick<FunctionUrl, 'project' | 'functionName'>): string {
  return project === defaultProject ? functionName : `${functionName}--${project}`
}
