import type { z } from 'zod'
import { invalid } from '../domain/error.ts'

const valueCharsMax = 200

/** `input` by its schema of the contract table; `where` (path, query, body) names what has no field. Throws invalid, naming the first field
 *  that does not fit, with its value unless that is a secret. */
export function check(schema: z.ZodType | undefined, input: unknown, where: string, isSecret = false): unknown {
  if (schema === undefined) return {}
  const parsed = schema.safeParse(input)
  if (parsed.success) return parsed.data
  const [issue] = parsed.error.issues
  const isUnknown = issue?.code === 'unrecognized_keys'
  const path = [...(issue?.path ?? []), ...(isUnknown ? issue.keys.slice(0, 1) : [])].join('.')
  const field = path === '' ? where : path
  const value = isUnknown || isSecret ? undefined : valueAt(input, issue?.path ?? [])
  const problem = isUnknown ? 'there is no such field' : (issue?.message ?? 'it does not fit')
  const quoted = typeof value === 'string' || typeof value === 'number' ? ` ${JSON.stringify(value)}` : ''
  throw invalid(field, value, isUnknown ? 'left out' : problem, `Invalid ${field}${quoted}: ${problem}.`)
}

function valueAt(input: unknown, path: readonly PropertyKey[]): unknown {
  let value = input
  for (const part of path)
    value = typeof value === 'object' && value !== null ? (value as Record<PropertyKey, unknown>)[part] : undefined
  return typeof value === 'string' && value.length > valueCharsMax ? `${value.slice(0, valueCharsMax)}...` : value
}
